"""ETags from what is stored, so that an unchanged page is answered without rendering it."""

from django.conf import settings
from django.db.models import Count, Max
from django.utils.translation import get_language

from articles.models import Article, digest


def etag(*parts):
    """Also differs where the same data gives another page: in another release, in another language."""
    return f'"{digest(settings.RELEASE, get_language(), *parts)}"'


def article_etag(request, slug):
    return stored_etag(Article.objects.published(), slug)


def locked_article_etag(request, slug):
    """For a change: holds the article until the transaction ends."""
    return stored_etag(Article.objects.select_for_update(), slug)


def stored_etag(articles, slug):
    page_hash = articles.filter(slug=slug).values_list("page_hash", flat=True).first()
    return etag(page_hash) if page_hash else None


def archive_etag(request):
    state = Article.objects.published().from_replica().aggregate(last=Max("modified"), count=Count("pk"))
    return etag(str(state["last"]), str(state["count"]))
