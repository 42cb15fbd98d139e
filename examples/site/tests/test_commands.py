import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command

from accounts.models import User
from articles.models import Article, Comment

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "replica"])


def test_an_author_is_made_once_and_may_write(client, monkeypatch, tmp_path, capsys):
    secret = tmp_path / "password"
    secret.write_text("a-long-passphrase\n")
    monkeypatch.setenv("AUTHOR_PASSWORD_FILE", str(secret))
    call_command("createauthor", "ada", first_name="Ada")
    first = User.objects.get()
    call_command("createauthor", "ada")
    again = User.objects.get()
    assert (again.password, again.first_name) == (first.password, "Ada")
    assert again.check_password("a-long-passphrase") and not again.is_staff
    assert again.get_all_permissions() == {"articles.add_article"}
    assert capsys.readouterr().out == "Created the author ada.\nKept the author ada.\n"
    secret.write_text("another-passphrase\n")
    call_command("createauthor", "ada")
    assert User.objects.get().check_password("another-passphrase")


def test_an_author_needs_a_password_worth_the_name(monkeypatch):
    with pytest.raises(ImproperlyConfigured, match="AUTHOR_PASSWORD is missing"):
        call_command("createauthor", "ada")
    monkeypatch.setenv("AUTHOR_PASSWORD", "12345")
    with pytest.raises(CommandError, match="AUTHOR_PASSWORD is too weak: This password is too short"):
        call_command("createauthor", "ada")
    assert not User.objects.exists()


def test_the_samples_are_made_once_and_fill_a_page_of_400_kb(client, article):
    call_command("createsamples")
    made = Article.objects.values_list("slug", "page_hash", "published_at")
    before, comments = set(made.all()), Comment.objects.count()
    assert len(before) == 691 and comments > 0
    Article.objects.get(slug="sample-0007").delete()
    call_command("createsamples")
    assert set(made.all()) == before
    assert Comment.objects.count() == comments
    assert 390_000 < len(client.get("/archive/").content) < 420_000


def test_a_sample_s_etag_is_the_one_that_saving_gives(article):
    call_command("createsamples", articles=3)
    for sample in Article.objects.filter(slug__startswith="sample-"):
        stored = sample.content_hash, sample.page_hash
        sample.save()
        assert (sample.content_hash, sample.page_hash) == stored
