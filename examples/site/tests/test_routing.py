import pytest
from django.core.management import call_command
from django.db import connection, connections, router
from django.test.utils import CaptureQueriesContext

from articles.models import Article

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "replica"])


def queries(client, url):
    with CaptureQueriesContext(connections["replica"]) as replica, CaptureQueriesContext(connection) as default:
        assert client.get(url).status_code == 200
    return len(default), len(replica)


@pytest.mark.parametrize("url", ["/", "/archive/", "/search/?q=tides"])
def test_lists_read_from_the_replica(client, article, url):
    default, replica = queries(client, url)
    assert default == 0 and replica > 0


def test_an_article_is_read_where_it_was_written(client, article):
    default, replica = queries(client, "/articles/tides/")
    assert default > 0 and replica == 0


@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
def test_without_a_replica_lists_read_from_the_default_alias(client, article, settings):
    settings.DATABASES = {"default": settings.DATABASES["default"]}
    default, replica = queries(client, "/")
    assert default > 0 and replica == 0


def test_what_was_read_from_the_replica_is_written_to_the_default_alias(article):
    read = Article.objects.from_replica().get()
    assert read._state.db == "replica"
    with CaptureQueriesContext(connections["replica"]) as replica, CaptureQueriesContext(connection) as default:
        read.body = "Changed."
        read.save()
    assert [q["sql"] for q in replica.captured_queries if q["sql"].startswith(("UPDATE", "INSERT"))] == []
    assert any(q["sql"].startswith("UPDATE") for q in default.captured_queries)


def began(client, url):
    """Whether each alias was asked in a transaction, by what the pooler sees."""
    with CaptureQueriesContext(connections["replica"]) as replica, CaptureQueriesContext(connection) as default:
        assert client.get(url).status_code == 200
    return [context.captured_queries[:1] and context.captured_queries[0]["sql"] == "BEGIN" for context in (default, replica)]


def test_who_has_written_reads_in_a_transaction_for_a_while(client, article):
    assert began(client, "/") == [[], False]
    client.cookies["csrftoken"] = "c" * 32
    answer = client.post("/login/", {"username": "ada", "password": "wrong"}, headers={"Referer": "https://testserver/"})
    assert answer.cookies["wrote"]["max-age"] == 15 and answer.cookies["wrote"]["secure"]
    assert began(client, "/")[1] is True
    assert began(client, "/articles/tides/")[0] is True
    del client.cookies["wrote"]
    assert began(client, "/articles/tides/")[0] is False


def test_the_replica_is_never_migrated(capsys):
    assert not router.allow_migrate("replica", "articles")
    call_command("migrate", database="replica", plan=True)
    assert "Create model" not in capsys.readouterr().out


def test_a_replica_is_configured_by_its_name_alone(manage):
    code = "from django.db import connections; print(list(connections))"
    named = manage("shell", "-v", "0", "-c", code, DATABASE_REPLICA_NAME="replica")
    assert named.stdout.strip() == "['default', 'replica']"
    unnamed = manage("shell", "-v", "0", "-c", code, DATABASE_REPLICA_NAME="")
    assert unnamed.stdout.strip() == "['default']"
