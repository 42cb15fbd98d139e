"""Who compresses what: private pages the app, with random padding; everything else the proxy."""

import gzip

import pytest

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "replica"])
BROWSER = {"Accept-Encoding": "gzip, deflate, br"}
PRIVATE = ["/login/?next=/reflected/", "/write/", "/mine/", "/articles/tides/edit/", "/articles/tides/comment/"]


@pytest.mark.parametrize("url", PRIVATE)
def test_a_page_with_a_secret_is_compressed_by_the_app_with_padding(client, article, url):
    if "login" not in url:
        client.force_login(article.author)
    responses = [client.get(url, headers=BROWSER) for _ in range(12)]
    assert {response["Content-Encoding"] for response in responses} == {"gzip"}
    assert all(b"csrfmiddlewaretoken" in gzip.decompress(response.content) for response in responses)
    assert len({len(response.content) for response in responses}) > 3


@pytest.mark.parametrize("accepted", ["br", "identity"])
def test_a_page_with_a_secret_names_an_encoding_even_without_gzip(client, accepted):
    response = client.get("/login/", headers={"Accept-Encoding": accepted})
    assert response["Content-Encoding"] == "identity"
    assert "csrfmiddlewaretoken" in response.text


@pytest.mark.parametrize("url", ["/", "/archive/", "/search/?q=tides", "/articles/tides/", "/health/ready"])
def test_a_public_page_is_left_to_the_proxy(client, article, url):
    client.force_login(article.author)
    response = client.get(url, headers=BROWSER)
    assert not response.has_header("Content-Encoding")
    assert "Cookie" not in response.get("Vary", "")
    assert not response.cookies
