import hashlib

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchQuery, SearchRank, SearchVector
from django.db import models, transaction
from django.db.models import Prefetch
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import get_random_string
from django.utils.text import slugify
from django.utils.translation import gettext_lazy as _
from model_utils import Choices, FieldTracker
from model_utils.models import StatusModel, TimeStampedModel


def digest(*parts):
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


# One expression for the index and for the query, so that the query can use the index.
SEARCHED = (
    SearchVector("title", weight="A", config="english")
    + SearchVector("summary", weight="B", config="english")
    + SearchVector("body", weight="C", config="english")
)


class ArticleQuerySet(models.QuerySet):
    def published(self):
        return self.filter(status=Article.STATUS.published)

    def search(self, words):
        query = SearchQuery(words, config="english", search_type="websearch")
        return (
            self.annotate(searched=SEARCHED, rank=SearchRank(SEARCHED, query))
            .filter(searched=query)
            .order_by("-rank", "-published_at", "-pk")
        )

    def for_list(self):
        """Without the text, which a list of articles does not show."""
        return self.select_related("author").defer("body")

    def refresh_page_hash(self):
        """Locks the rows, so that of two changes at once the second sees the first."""
        with transaction.atomic():
            for article in self.select_for_update().order_by("pk"):
                article.store_page_hash()

    def with_comments(self):
        visible = Comment.visible.select_related("author")
        return self.select_related("author").prefetch_related(Prefetch("comments", queryset=visible))

    def from_replica(self):
        """Reads that may be a moment behind the last write; the default alias where there is no replica."""
        return self.using("replica") if "replica" in settings.DATABASES else self


class Article(TimeStampedModel, StatusModel):
    STATUS = Choices(("draft", _("Draft")), ("published", _("Published")))

    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="articles", verbose_name=_("author")
    )
    title = models.CharField(_("title"), max_length=120)
    slug = models.SlugField(_("slug"), max_length=100, unique=True, editable=False)
    summary = models.CharField(_("summary"), max_length=500)
    body = models.TextField(_("text"))
    published_at = models.DateTimeField(_("published"), null=True, editable=False)
    revised_at = models.DateTimeField(_("revised"), null=True, editable=False)

    # What an author edits, hashed: tells an edit of an outdated copy from one of the current text.
    content_hash = models.CharField(max_length=64, editable=False)
    # All that the article's page shows, hashed: its ETag is answered from this one column.
    page_hash = models.CharField(max_length=64, editable=False)

    objects = ArticleQuerySet.as_manager()
    tracker = FieldTracker(fields=["title", "summary", "body", "status"])

    class Meta:
        verbose_name = _("article")
        verbose_name_plural = _("articles")
        ordering = ["-published_at", "-pk"]
        indexes = [
            models.Index(fields=["status", "-published_at", "-id"], name="article_by_date"),
            GinIndex(SEARCHED, name="article_search"),
        ]

    def __str__(self):
        return self.title

    def get_absolute_url(self):
        return reverse("articles:detail", kwargs={"slug": self.slug})

    def save(self, **kwargs):
        self.prepare()
        with transaction.atomic():
            super().save(**kwargs)
            self.store_page_hash()

    def prepare(self):
        """Sets what follows from the other fields."""
        if not self.slug:
            self.slug = self.free_slug()
        if self.status == self.STATUS.published:
            if self.published_at is None:
                self.published_at = timezone.now()
            elif self.tracker.previous("status") == self.STATUS.published and self.text_changed():
                self.revised_at = timezone.now()
        self.content_hash = digest(self.title, self.summary, self.body)

    def text_changed(self):
        return any(self.tracker.has_changed(field) for field in ("title", "summary", "body"))

    def free_slug(self):
        slug = slugify(self.title)[:90] or "article"
        if Article.objects.filter(slug=slug).exists():
            slug = f"{slug}-{get_random_string(6).lower()}"
        return slug

    def hash_page(self, comments):
        return digest(
            self.content_hash,
            self.author.byline,
            *(part for comment in comments for part in (comment.author.byline, comment.body)),
        )

    def store_page_hash(self):
        self.page_hash = self.hash_page(Comment.visible.filter(article=self).select_related("author"))
        Article.objects.filter(pk=self.pk).update(page_hash=self.page_hash)


class Comment(TimeStampedModel, StatusModel):
    STATUS = Choices(("visible", _("Visible")), ("hidden", _("Hidden")))

    article = models.ForeignKey(Article, on_delete=models.CASCADE, related_name="comments", verbose_name=_("article"))
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="comments", verbose_name=_("author")
    )
    body = models.TextField(_("comment"), max_length=2000)

    class Meta:
        verbose_name = _("comment")
        verbose_name_plural = _("comments")
        ordering = ["created", "pk"]

    def __str__(self):
        return f"{self.author.byline}: {self.body[:40]}"
