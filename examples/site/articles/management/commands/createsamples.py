import itertools
import random
from datetime import UTC, datetime, timedelta

from django.core.management.base import BaseCommand
from django.db import transaction

from accounts.models import User
from articles.models import Article, Comment

WORDS = (
    "anchor bay beacon berth bow bridge buoy cable calm captain cargo channel chart cleat coast compass crew current "
    "deck dock drift fairlead fender fog galley gale harbour hatch haven helm hull jetty keel knot ladder lantern "
    "league ledger line log mast mooring morning night oar passage pier pilot port quay reef rigging rope rudder sail "
    "salt shackle ship shore signal sound spar squall star stern storm strait swell tide timber tow vessel voyage wake "
    "watch wave weather wharf wheel winch wind yard"
).split()
FIRST_DAY = datetime(2025, 1, 1, 8, tzinfo=UTC)


class Command(BaseCommand):
    help = "Makes sure that the sample articles are there: the same ones every time. Nothing else is touched."

    def add_arguments(self, parser):
        parser.add_argument("--articles", type=int, default=690, help="how many (default: 690, a 400 KB archive)")

    @transaction.atomic
    def handle(self, *, articles, **options):
        authors = [sample_author(number) for number in range(3)]
        present = set(Article.objects.filter(slug__startswith="sample-").values_list("slug", flat=True))
        missing = [number for number in range(articles) if slug(number) not in present]
        created = [sample_article(number, authors) for number in missing]
        comments = {article.slug: sample_comments(article, authors) for article in created}
        for article in created:
            article.page_hash = article.hash_page(comments[article.slug])
        Article.objects.bulk_create(created)
        Comment.objects.bulk_create(itertools.chain.from_iterable(comments.values()))
        self.stdout.write(f"{len(created)} sample articles created, {articles - len(created)} already there.")


def slug(number):
    return f"sample-{number:04}"


def sample_author(number):
    author, _ = User.objects.get_or_create(
        username=f"sample-author-{number}",
        # Nobody logs in as one: the password is unusable.
        defaults={"first_name": ("Ada", "Ben", "Cleo")[number], "last_name": "Sample", "password": "!"},
    )
    return author


def sample_article(number, authors):
    rng = random.Random(number)
    article = Article(
        slug=slug(number),
        author=authors[number % len(authors)],
        title=sentence(rng, 5, 8).rstrip("."),
        summary=text(rng, 340),
        body="\n\n".join(text(rng, 700) for _ in range(4)),
        status=Article.STATUS.published,
        published_at=FIRST_DAY + timedelta(hours=11 * number),
    )
    article.prepare()
    return article


def sample_comments(article, authors):
    rng = random.Random(article.slug)
    return [Comment(article=article, author=rng.choice(authors), body=text(rng, 120)) for _ in range(rng.randrange(4))]


def text(rng, length):
    sentences = []
    while sum(map(len, sentences)) < length:
        sentences.append(sentence(rng, 6, 14))
    return " ".join(sentences)


def sentence(rng, shortest, longest):
    words = [rng.choice(WORDS) for _ in range(rng.randint(shortest, longest))]
    return f"{' '.join(words).capitalize()}."
