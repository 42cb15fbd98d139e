from django.contrib.auth.mixins import LoginRequiredMixin, PermissionRequiredMixin
from django.db import transaction
from django.shortcuts import get_object_or_404
from django.urls import reverse_lazy
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.decorators.http import condition
from django.views.generic import CreateView, DeleteView, DetailView, ListView, UpdateView

from articles.etags import archive_etag, article_etag, locked_article_etag
from articles.forms import ArticleForm, CommentForm
from articles.models import Article, Comment

# Public pages: the same for everybody, so they read neither the session nor the CSRF token.


class ArticleList(ListView):
    template_name = "articles/list.html"
    paginate_by = 20

    def get_queryset(self):
        return Article.objects.published().for_list().from_replica()


class Search(ArticleList):
    template_name = "articles/search.html"

    def get_queryset(self):
        words = self.request.GET.get("q", "").strip()
        return super().get_queryset().search(words) if words else Article.objects.none()


@method_decorator(condition(etag_func=archive_etag), name="dispatch")
class Archive(ListView):
    """Every article on one page, which makes it the heaviest of the site."""

    template_name = "articles/archive.html"

    def get_queryset(self):
        return Article.objects.published().for_list().from_replica()


@method_decorator(condition(etag_func=article_etag), name="dispatch")
class ArticleDetail(DetailView):
    # From the default alias: whoever has just written sees what was written.
    queryset = Article.objects.published().with_comments()
    template_name = "articles/detail.html"


# Private pages: for one visitor, never stored by a cache.


@method_decorator(never_cache, name="dispatch")
class MyArticles(LoginRequiredMixin, ListView):
    template_name = "articles/mine.html"

    def get_queryset(self):
        return Article.objects.filter(author=self.request.user).for_list().order_by("-modified")


class EditorMixin(LoginRequiredMixin):
    model = Article
    form_class = ArticleForm
    template_name = "articles/form.html"

    def get_success_url(self):
        published = self.object.status == Article.STATUS.published
        return self.object.get_absolute_url() if published else reverse_lazy("articles:mine")


@method_decorator(never_cache, name="dispatch")
class ArticleCreate(PermissionRequiredMixin, EditorMixin, CreateView):
    permission_required = "articles.add_article"

    def form_valid(self, form):
        form.instance.author = self.request.user
        return super().form_valid(form)


class OwnArticleMixin:
    """Authors change what is theirs; who may change articles in the admin changes all."""

    def get_queryset(self):
        articles = Article.objects.all()
        if self.request.user.has_perm("articles.change_article"):
            return articles
        return articles.filter(author=self.request.user)


@method_decorator(never_cache, name="dispatch")
class ArticleUpdate(OwnArticleMixin, EditorMixin, UpdateView):
    # The lock, the comparison and the change are one transaction. A client that sends the page's ETag as If-Match
    # gets 412 where the page has changed since.
    @method_decorator(transaction.atomic)
    @method_decorator(condition(etag_func=locked_article_etag))
    def post(self, request, **kwargs):
        return super().post(request, **kwargs)


@method_decorator(never_cache, name="dispatch")
class ArticleDelete(OwnArticleMixin, LoginRequiredMixin, DeleteView):
    template_name = "articles/confirm_delete.html"
    success_url = reverse_lazy("articles:mine")


@method_decorator(never_cache, name="dispatch")
class CommentCreate(LoginRequiredMixin, CreateView):
    """A page of its own, so that the article's page carries no CSRF token and stays public."""

    model = Comment
    form_class = CommentForm
    template_name = "articles/comment.html"

    def get_context_data(self, **kwargs):
        return super().get_context_data(article=self.get_article(), **kwargs)

    def get_article(self):
        return get_object_or_404(Article.objects.published(), slug=self.kwargs["slug"])

    def form_valid(self, form):
        form.instance.article = self.get_article()
        form.instance.author = self.request.user
        return super().form_valid(form)

    def get_success_url(self):
        return f"{self.object.article.get_absolute_url()}#comment-{self.object.pk}"
