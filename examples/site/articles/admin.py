from django.contrib import admin

from articles.models import Article, Comment


@admin.register(Article)
class ArticleAdmin(admin.ModelAdmin):
    list_display = ["title", "author", "status", "published_at"]
    list_filter = ["status"]
    list_select_related = ["author"]
    search_fields = ["title", "summary"]
    fields = ["title", "summary", "body", "author", "status"]


@admin.register(Comment)
class CommentAdmin(admin.ModelAdmin):
    list_display = ["article", "author", "status", "created"]
    list_filter = ["status"]
    list_select_related = ["article", "author"]
    fields = ["article", "author", "body", "status"]
    raw_id_fields = ["article"]
