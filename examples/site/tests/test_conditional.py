"""ETags, 304 and 412."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from articles.models import Article, Comment

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "replica"])
URL = "/articles/tides/"


def etag(client, url=URL, **headers):
    return client.get(url, headers=headers)["ETag"]


def edit(client, article, headers=None, **changes):
    fields = {"title": article.title, "summary": article.summary, "body": article.body, "status": article.status}
    page = client.get(f"{URL}edit/")
    token = page.context["csrf_token"]
    hidden = {"csrfmiddlewaretoken": str(token), "content_hash": page.context["form"]["content_hash"].value()}
    return client.post(f"{URL}edit/", fields | hidden | changes, headers={"Referer": "https://testserver/"} | (headers or {}))


def test_an_unchanged_article_is_answered_by_one_small_query(client, article):
    known = etag(client)
    with CaptureQueriesContext(connection) as queries:
        response = client.get(URL, headers={"If-None-Match": known})
    assert (response.status_code, response.content) == (304, b"")
    [query] = queries.captured_queries
    assert "page_hash" in query["sql"] and "body" not in query["sql"]


def test_a_proxy_s_weakened_etag_still_matches(client, article):
    assert client.get(URL, headers={"If-None-Match": f"W/{etag(client)}"}).status_code == 304


@pytest.mark.parametrize("url", ["/archive/", URL])
def test_the_etag_changes_with_all_that_the_page_shows(client, article, author, url):
    def changed(change):
        before = etag(client, url)
        assert etag(client, url) == before
        change()
        return etag(client, url) != before

    def rewrite():
        article.summary = "Whenever"
        article.save()

    def rename():
        author.last_name = "Lovelace"
        author.save()

    assert changed(rewrite)
    assert changed(rename)
    if url == URL:
        assert changed(lambda: Comment.objects.create(article=article, author=author, body="Aye"))
        assert changed(lambda: Comment.objects.update_or_create(body="Aye", defaults={"status": "hidden"}))
    else:
        assert changed(lambda: Article.objects.create(author=author, title="New", status="published"))
        assert changed(article.delete)


def test_the_etag_differs_by_language_and_release(client, article, settings):
    english = etag(client)
    assert etag(client, **{"Accept-Language": "de"}) != english
    settings.RELEASE = "2"
    assert etag(client) != english


def test_a_login_does_not_change_any_etag(client, article, author):
    before = etag(client), etag(client, "/archive/")
    client.force_login(author)
    assert (etag(client), etag(client, "/archive/")) == before


def test_lists_without_a_stored_etag_answer_304_too(client, article):
    assert client.get("/", headers={"If-None-Match": etag(client, "/")}).status_code == 304


def test_a_change_of_an_outdated_page_is_refused(client, article):
    outdated = etag(client)
    Comment.objects.create(article=article, author=article.author, body="Meanwhile")
    client.force_login(article.author)
    assert edit(client, article, {"If-Match": outdated}, body="Lost").status_code == 412
    article.refresh_from_db()
    assert article.body == "With the ebb."
    assert edit(client, article, {"If-Match": etag(client)}, body="Kept").status_code == 302
    article.refresh_from_db()
    assert article.body == "Kept"


def test_a_form_opened_before_another_change_is_refused(client, article):
    client.force_login(article.author)
    opened_with = article.content_hash
    article.body = "Changed elsewhere."
    article.save()
    response = edit(client, article, body="Overwrites it.", content_hash=opened_with)
    assert "The article was changed while you were editing it." in response.text
    article.refresh_from_db()
    assert article.body == "Changed elsewhere."


def test_a_comment_does_not_stop_the_author_s_edit(client, article):
    client.force_login(article.author)
    opened_with = article.content_hash
    Comment.objects.create(article=article, author=article.author, body="Aye")
    assert edit(client, article, body="New", content_hash=opened_with).status_code == 302
