from django.contrib.auth.models import Group, Permission
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.models import User
from config.environment import read


class Command(BaseCommand):
    help = (
        "Makes sure that an author exists who may write articles. "
        "The password comes from AUTHOR_PASSWORD, or from the file that AUTHOR_PASSWORD_FILE names."
    )

    def add_arguments(self, parser):
        parser.add_argument("username")
        parser.add_argument("--first-name", default="")
        parser.add_argument("--last-name", default="")

    @transaction.atomic
    def handle(self, *, username, first_name, last_name, **options):
        password = read("AUTHOR_PASSWORD")
        author = User.objects.filter(username=username).first()
        created = author is None
        if created:
            author = User(username=username)
        author.first_name = first_name or author.first_name
        author.last_name = last_name or author.last_name
        if created or not author.check_password(password):
            try:
                validate_password(password, author)
            except ValidationError as error:
                raise CommandError(f"AUTHOR_PASSWORD is too weak: {' '.join(error.messages)}") from None
            author.set_password(password)
        author.save()
        author.groups.add(authors())
        self.stdout.write(f"{'Created' if created else 'Kept'} the author {username}.")


def authors():
    group, _ = Group.objects.get_or_create(name="authors")
    group.permissions.set(
        Permission.objects.filter(content_type__app_label="articles", codename="add_article"),
    )
    return group
