"""What changes an article's page without saving the article."""

from django.contrib.auth import get_user_model
from django.db.models import Q
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver
from django.utils import timezone

from articles.models import Article, Comment

NAMES = {"username", "first_name", "last_name"}


@receiver([post_save, post_delete], sender=Comment)
def comment_changed(instance, **kwargs):
    Article.objects.filter(pk=instance.article_id).refresh_page_hash()


@receiver(post_save, sender=get_user_model())
def name_changed(instance, created, update_fields, **kwargs):
    # Every login saves last_login alone.
    if created or (update_fields is not None and NAMES.isdisjoint(update_fields)):
        return
    # The pages that list articles tell by this that they have changed.
    instance.articles.update(modified=timezone.now())
    written = Article.objects.filter(author=instance).values("pk")
    commented = Comment.objects.filter(author=instance).values("article")
    Article.objects.filter(Q(pk__in=written) | Q(pk__in=commented)).refresh_page_hash()
