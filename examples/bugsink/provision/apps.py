"""Makes what the environment asks for, after each migration: an administrator, a team, and a project with a known DSN."""

import uuid

from django.apps import AppConfig
from django.db.models.signals import post_migrate

from config.environment import read


def provide(using, **kwargs):
    if using != "default":
        return
    from django.contrib.auth import get_user_model
    from projects.models import Project
    from teams.models import Team

    name = read("PROJECT_NAME", "site")
    team, _ = Team.objects.get_or_create(name=name)
    # The first project has the number 1, which stands in the DSN.
    project = {"name": name, "slug": name, "team": team, "sentry_key": uuid.UUID(read("PROJECT_KEY"))}
    if not Project.objects.filter(id=1).update(**project):
        Project.objects.create(**project)
    if email := read("ADMIN_EMAIL"):
        admin, _ = get_user_model().objects.get_or_create(username=email, defaults={"email": email})
        admin.is_staff = admin.is_superuser = True
        if not admin.check_password(read("ADMIN_PASSWORD")):
            admin.set_password(read("ADMIN_PASSWORD"))
        admin.save()


class ProvisionConfig(AppConfig):
    name = "provision"

    def ready(self):
        post_migrate.connect(provide, sender=self)
