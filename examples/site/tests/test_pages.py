import re

import pytest
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from articles.models import Article, Comment

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "replica"])


def submit(client, url, **fields):
    """Opens a page's form and posts it as a browser does: with its hidden fields, and the Referer of the page."""
    page = client.get(url).text
    form = page[page.index('<form method="post"') :]
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form))
    return client.post(url, hidden | fields, headers={"Referer": f"https://testserver{url}"})


def text_of(article, **changes):
    return {"title": article.title, "summary": article.summary, "body": article.body, "status": article.status} | changes


def test_an_author_logs_in_writes_an_article_and_reads_it(client, author):
    author.set_password("a-long-passphrase")
    author.save()
    assert client.get("/write/").url == "/login/?next=/write/"
    assert submit(client, "/login/?next=/write/", username="ada", password="a-long-passphrase").url == "/write/"
    response = submit(client, "/write/", title="Knots", summary="Two", body="Bowline & hitch", status="published")
    assert response.url == "/articles/knots/"
    assert "Bowline &amp; hitch" in client.get(response.url).text
    assert Article.objects.get().author == author
    assert "Knots" in client.get("/").text


def test_a_form_without_its_token_is_refused(client, author):
    client.force_login(author)
    assert client.post("/write/", {"title": "x"}, headers={"Referer": "https://testserver/"}).status_code == 403
    assert not Article.objects.exists()


def test_writing_takes_the_permission(client):
    client.force_login(User.objects.create_user("reader"))
    assert client.get("/write/").status_code == 403


def test_a_draft_is_seen_by_its_author_only(client, author):
    client.force_login(author)
    assert submit(client, "/write/", title="Plan", summary="-", body="-", status="draft").url == "/mine/"
    assert "Plan" in client.get("/mine/").text
    assert client.get("/articles/plan/").status_code == 404
    assert all("Plan" not in client.get(url).text for url in ("/", "/archive/", "/search/?q=plan"))


def test_an_article_can_be_changed_and_deleted_by_its_author_only(client, article):
    client.force_login(User.objects.create_user("ben"))
    assert client.get("/articles/tides/edit/").status_code == 404
    assert client.get("/articles/tides/delete/").status_code == 404
    client.force_login(article.author)
    assert submit(client, "/articles/tides/edit/", **text_of(article, body="With the flood.")).status_code == 302
    assert "With the flood." in client.get("/articles/tides/").text
    assert submit(client, "/articles/tides/delete/").url == "/mine/"
    assert client.get("/articles/tides/").status_code == 404


def test_titles_that_are_alike_get_addresses_that_differ(author):
    slugs = {Article.objects.create(author=author, title="Same").slug for _ in range(3)}
    assert len(slugs) == 3 and "same" in slugs


def test_a_revision_of_a_published_text_is_dated(article):
    article.status = Article.STATUS.draft
    article.body = "Unseen change."
    article.save()
    article.status = Article.STATUS.published
    article.save()
    assert article.revised_at is None
    article.body = "Seen change."
    article.save()
    assert article.revised_at > article.published_at


def test_a_visitor_comments_after_logging_in(client, article):
    url = "/articles/tides/comment/"
    assert client.get(url).status_code == 302
    client.force_login(User.objects.create_user("ben"))
    assert submit(client, url, body="Aye <b>").url.startswith("/articles/tides/#comment-")
    assert "Aye &lt;b&gt;" in client.get("/articles/tides/").text
    Comment.objects.get().delete()
    assert "Aye" not in client.get("/articles/tides/").text


def test_search_finds_word_forms_and_ranks_titles_first(client, author):
    for title, body in (("Weather", "They were sailing."), ("A sail", "Cloth."), ("Anchors", "Iron.")):
        Article.objects.create(author=author, title=title, summary="-", body=body, status="published")
    page = client.get("/search/?q=sails").text
    assert page.index("A sail") < page.index("Weather")
    assert "Anchors" not in page
    assert "2 articles for “sails”" in page
    assert "0 articles for “&lt;i&gt;”" in client.get("/search/?q=<i>").text


def test_search_uses_its_index(author):
    Article.objects.create(author=author, title="A sail", summary="-", body="-", status="published")
    with transaction.atomic(), connection.cursor() as cursor:
        # The table is too small for the planner to want an index.
        cursor.execute("SET LOCAL enable_seqscan = off")
        assert "article_search" in Article.objects.search("sail").order_by().explain()


@pytest.mark.parametrize("url", ["/", "/archive/", "/search/?q=tides"])
def test_a_list_takes_the_same_queries_however_long_it_is(client, author, url):
    for number in range(15):
        Article.objects.create(author=author, title=f"Tides {number}", summary="-", body="-", status="published")
    with CaptureQueriesContext(connections["replica"]) as replica, CaptureQueriesContext(connection) as default:
        assert client.get(url).text.count("<h2>") == 15
    assert len(replica) <= 2
    assert len(default) == 0


def test_pages_speak_the_visitor_s_language(client):
    response = client.get("/", headers={"Accept-Language": "de"})
    assert '<html lang="de">' in response.text and "Archiv" in response.text
    assert "Accept-Language" in response["Vary"]


def test_a_page_that_is_not_there(client):
    response = client.get("/nothing/")
    assert response.status_code == 404 and "There is nothing at this address." in response.text


def test_the_admin_lists_articles(client, article):
    client.force_login(User.objects.create_superuser("root"))
    assert "Tides" in client.get("/admin/articles/article/").text


def test_every_page_carries_the_security_headers(client):
    response = client.get("/")
    assert response["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    assert response["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains; preload"
    assert response["X-Frame-Options"] == "DENY"
    assert response["X-Content-Type-Options"] == "nosniff"
    cookie = client.get("/login/").cookies["csrftoken"]
    assert cookie["secure"]


def test_plain_http_is_sent_to_https(client):
    response = client.get("/", headers={"X-Forwarded-Proto": "http"})
    assert (response.status_code, response["Location"]) == (301, "https://testserver/")


def test_an_unknown_host_is_refused(client):
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
