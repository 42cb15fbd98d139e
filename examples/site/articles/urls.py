from django.urls import path

from articles import views

app_name = "articles"
urlpatterns = [
    path("", views.ArticleList.as_view(), name="list"),
    path("archive/", views.Archive.as_view(), name="archive"),
    path("search/", views.Search.as_view(), name="search"),
    path("mine/", views.MyArticles.as_view(), name="mine"),
    path("write/", views.ArticleCreate.as_view(), name="write"),
    path("articles/<slug:slug>/", views.ArticleDetail.as_view(), name="detail"),
    path("articles/<slug:slug>/edit/", views.ArticleUpdate.as_view(), name="edit"),
    path("articles/<slug:slug>/delete/", views.ArticleDelete.as_view(), name="delete"),
    path("articles/<slug:slug>/comment/", views.CommentCreate.as_view(), name="comment"),
]
