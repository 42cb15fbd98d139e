"""Random SQL: most of it valid, spelled in the ways that people who want to confuse a lexer would choose."""

import random
from collections.abc import Callable, Sequence

from oracle import tokens
from pglast.keywords import COL_NAME_KEYWORDS, RESERVED_KEYWORDS, TYPE_FUNC_NAME_KEYWORDS, UNRESERVED_KEYWORDS

KEYWORDS = sorted(COL_NAME_KEYWORDS | RESERVED_KEYWORDS | TYPE_FUNC_NAME_KEYWORDS | UNRESERVED_KEYWORDS)
NAMES = sorted(UNRESERVED_KEYWORDS) + ["a", "b", "t", "u", "é", "a$1", '"a"', '"A""b"', '"select"', '"into"', "_x"]
READ_CALLS = [
    "lower",
    "family",
    "count",
    "now",
    "abs",
    "left",
    "length",
    '"lower"',
    "pg_catalog.lower",
    'PG_Catalog . "abs"',
    "coalesce",
]
WRITE_CALLS = ["nextval", '"nextval"', "pg_catalog.nextval", "f", "s.f", "public.now", 'U&"nextval"', "set_config", "a.b.now"]
WRITE_CALLS += sorted(UNRESERVED_KEYWORDS | TYPE_FUNC_NAME_KEYWORDS)
TYPES = [
    "int",
    "text",
    "numeric(10,2)",
    "character varying(3)",
    "timestamp(3) with time zone",
    "s.t(1)",
    "double precision",
    "int[]",
]
LITERALS = ["1", "1.5e3", ".5", "'a'", "'it''s'", r"'\'", r"E'\''", "$$a;b$$", "$a$ $$ ' $a$", "null", "true", "$1", "x'1F'", "''"]
OPERATORS = ["+", "-", "*", "/", "=", "<", ">=", "<>", "||", "@>", "?", "and", "or", "like", "ilike", "is distinct from",
             "operator(pg_catalog.+)", "<->", "!~*", "similar to"]  # fmt: skip
SPACES = [" ", "\n", "\t", "  ", " /* ' */ ", ' /* /* */ " */ ', " -- x ' ;\n", "\r\n", " /**/ ", "/*(*/ ", " --\n"]


class Generator:
    """Makes statements from a random source, so that a seed gives the same ones again."""

    def __init__(self, seed: int) -> None:
        """Seed the source."""
        self.random = random.Random(seed)

    def pick(self, *choices: str | Callable[[], str]) -> str:
        """Return one of the texts, or what one of the functions gives."""
        choice = self.random.choice(choices)
        return choice if isinstance(choice, str) else choice()

    def chance(self, probability: float, text: str | Callable[[], str]) -> str:
        """Return the text, or nothing."""
        if self.random.random() >= probability:
            return ""
        return text if isinstance(text, str) else text()

    def several(self, make: Callable[[], str], most: int = 3) -> str:
        """Return one to `most` of a thing, with commas."""
        return ", ".join(make() for _ in range(self.random.randint(1, most)))

    def name(self) -> str:
        """Return a name; often one that is a keyword too."""
        return self.random.choice(NAMES)

    def call(self, depth: int) -> str:
        """Return a function call; one in eight is not known to be a read."""
        name = self.random.choice(WRITE_CALLS if self.random.random() < 0.05 else READ_CALLS)
        if name == "coalesce":
            return f"coalesce ({self.several(lambda: self.expression(depth - 1))})"
        arguments = self.pick("*" if name == "count" else "", lambda: self.several(lambda: self.expression(depth - 1)))
        call = f"{name} ({arguments})" + self.chance(0.1, lambda: f" filter (where {self.expression(depth - 1)})")
        return call + self.chance(0.15, lambda: self.pick(f" over ({self.window(depth - 1)})", " over w"))

    def window(self, depth: int) -> str:
        """Return the inside of a window definition."""
        text = self.chance(0.5, lambda: f"partition by ({self.expression(depth)})")
        text += self.chance(0.7, lambda: f" order by {self.expression(depth)}")
        return text + self.chance(0.3, lambda: f" rows {self.expression(depth)} preceding")

    def expression(self, depth: int) -> str:
        """Return an expression."""
        if depth <= 0:
            return self.pick(self.name, *LITERALS, lambda: f"{self.name()}.{self.name()}")
        inner = lambda: self.expression(depth - 1)
        return self.pick(
            *[inner] * 3,
            *[lambda: self.call(depth)] * 4,
            *[lambda: f"{inner()} {self.random.choice(OPERATORS)} {inner()}"] * 4,
            lambda: f"({inner()})",
            lambda: f"not {inner()}",
            lambda: f"({self.query(depth - 1)})",
            lambda: f"exists ({self.query(depth - 1)})",
            lambda: f"array({self.query(depth - 1)})",
            lambda: f"{inner()} in ({self.several(inner)})",
            lambda: f"{inner()} = any ({inner()})",
            lambda: f"{inner()}::{self.random.choice(TYPES)}",
            lambda: f"cast({inner()} as {self.random.choice(TYPES)})",
            lambda: f"case when {inner()} then {inner()} else {inner()} end",
            lambda: f"{inner()} between {inner()} and {inner()}",
            lambda: f"{inner()} like {inner()} escape {inner()}",
            lambda: f"{inner()} at time zone {inner()}",
            lambda: f"substring({inner()} from {inner()} for {inner()})",
            lambda: f"extract(year from {inner()})",
            lambda: f"row({self.several(inner)})",
            lambda: f"array[{self.several(inner)}]",
            lambda: f"({inner()}).{self.name()}",
            lambda: f"{inner()} collate {self.name()}",
            lambda: self.chance(0.1, f"treat({inner()} as {self.random.choice(NAMES)})") or "1",
            lambda: self.chance(0.1, f"json_value({inner()}, 'a' default {inner()} on error)") or "1",
            lambda: f"percentile_cont({inner()}) within group (order by {inner()})",
        )

    def target(self, depth: int) -> str:
        """Return one column of a SELECT, often with a label that is a keyword."""
        label = self.pick("", "", lambda: f" as {self.random.choice(KEYWORDS)}", lambda: f" {self.random.choice(KEYWORDS)}")
        return self.expression(depth) + label

    def source(self, depth: int) -> str:
        """Return one item of FROM."""
        alias = lambda: self.pick(f" {self.name()}", f" as {self.name()}")
        columns = lambda: self.chance(0.4, lambda: f"({self.several(self.name)})")
        if depth <= 0:
            return self.pick(self.name, lambda: f"{self.name()}.{self.name()}{alias()}")
        inner = lambda: self.source(depth - 1)
        join = self.pick("", "inner ", "left ", "right outer ", "full ")
        return self.pick(
            *[inner] * 3,
            lambda: f"({self.query(depth - 1)}){alias()}{columns()}",
            lambda: f"{self.row_source()}{alias()}{columns()}",
            lambda: f"{self.row_source()} as ({self.name()} int)",
            lambda: f"rows from ({self.row_source()}) with ordinality{alias()}",
            lambda: f"lateral ({self.query(depth - 1)}){alias()}",
            lambda: f"{inner()} {join}join {inner()} on ({self.expression(depth - 1)})",
            lambda: f"{inner()} {join}join {inner()} using ({self.name()}){self.chance(0.2, alias)}",
            lambda: f"{inner()} natural join {inner()}",
            lambda: (
                self.name() + self.chance(0.2, lambda: f" tablesample {self.pick('system', *READ_CALLS)} ({self.expression(0)})")
            ),
        )

    def row_source(self) -> str:
        """Return a function call as FROM takes it."""
        name = self.random.choice(WRITE_CALLS if self.random.random() < 0.05 else READ_CALLS)
        return f"{name} ({self.several(lambda: self.expression(0))})"

    def common(self, depth: int) -> str:
        """Return one query of a WITH."""
        body = self.pick(*[lambda: self.query(depth - 1)] * 15, self.write)
        materialized = self.pick("", "", "materialized ", "not materialized ")
        columns = self.chance(0.4, lambda: f"({self.several(self.name)})")
        tail = self.chance(0.05, lambda: f" search depth first by {self.several(self.name)} set {self.name()}")
        return f"{self.name()}{columns} as {materialized}({body}){tail}"

    def query(self, depth: int) -> str:
        """Return a SELECT, VALUES or TABLE, now and then with INTO or a row lock."""
        if depth <= 0:
            return self.pick("select 1", "values (1)", "table t", lambda: f"select {self.target(0)}")
        inner = lambda: self.expression(depth - 1)
        common = self.chance(0.2, lambda: f"with {self.chance(0.3, 'recursive ')}{self.several(lambda: self.common(depth))} ")
        distinct = self.pick("", "", "", "distinct ", "all ", lambda: f"distinct on ({inner()}) ")
        select = f"select {distinct}{self.several(lambda: self.target(depth - 1))}"
        select += self.chance(0.02, f" into {self.name()}")
        select += self.chance(0.7, lambda: f" from {self.several(lambda: self.source(depth - 1), 2)}")
        select += self.chance(0.4, lambda: f" where {inner()}")
        grouping = self.pick(inner, lambda: f"rollup ({inner()})", lambda: f"grouping sets (({inner()}), ())")
        select += self.chance(0.15, lambda: f" group by {grouping} having ({inner()})")
        select += self.chance(0.1, lambda: f" window w as ({self.window(depth - 1)})")
        body = self.pick(*[select] * 6, f"values ({inner()})", f"({self.query(depth - 1)})",
                         f"({select}) union all ({self.query(depth - 1)})",
                         f"{select} except select {inner()}")  # fmt: skip
        order = self.chance(0.25, lambda: f" order by {self.several(inner, 2)} {self.pick('', 'desc', 'using >', 'nulls last')}")
        limit = self.chance(0.15, lambda: self.pick(f" limit {inner()}", f" offset ({inner()}) rows", " fetch first 1 rows only"))
        lock = self.chance(0.04, lambda: " for " + self.pick("update", "no key update", "share", "key share", "read only"))
        return common + body + order + limit + lock

    def write(self) -> str:
        """Return a statement that changes data."""
        return self.pick("insert into t values (1)", "update t set a = 1 returning a", "delete from t",
                         "merge into t using u on true when matched then delete")  # fmt: skip

    def statement(self) -> str:
        """Return one statement or, rarely, two."""
        depth = self.random.randint(1, 4)
        query = lambda: self.query(depth)
        return self.pick(
            *[query] * 12,
            lambda: f"explain {self.pick('', 'analyze ', '(analyze, costs off) ', 'verbose ')}{self.pick(query, self.write)}",
            lambda: f"copy ({self.pick(query, self.write)}) to {self.pick('stdout', 'stdout', chr(39) + 'x' + chr(39))}",
            lambda: f"copy t{self.chance(0.5, '(a, b)')} {self.pick('to stdout', 'from stdin')} with (format csv)",
            lambda: f"{query()};{self.pick('', ' ', query, self.write)}",
            lambda: self.pick("begin", "start transaction") + self.chance(0.8, lambda: " " + self.several(self.mode, 3)),
            lambda: self.pick("commit", "rollback", "end", "abort") + self.pick("", " work", " and chain", " and no chain"),
            lambda: self.pick("set a = b", "set constraints all immediate", "show a", "reset a", "set time zone 'x'"),
            self.write,
        )

    def mode(self) -> str:
        """Return a transaction mode."""
        return self.pick("read only", "read write", "isolation level serializable", "isolation level read committed",
                         "isolation level repeatable read", "not deferrable", "deferrable")  # fmt: skip

    def spell(self, parts: Sequence[str]) -> str:
        """Join tokens with odd white space and odd case."""
        spaced = self.random.random() < 0.5
        text = ""
        for part in parts:
            if spaced and self.random.random() < 0.3:
                text += self.random.choice(SPACES)
            elif text:
                text += " "
            plain = part.isascii() and part.isidentifier()
            text += part.upper() if plain and self.random.random() < 0.3 else part
        return text

    def mutate(self, parts: list[str], others: Sequence[Sequence[str]]) -> list[str]:
        """Change a few tokens: drop, double, swap, replace, or graft a piece of another statement."""
        parts = list(parts)
        for _ in range(self.random.randint(1, 3)):
            at = self.random.randrange(len(parts) + 1)
            end = min(len(parts), at + self.random.randint(1, 4))
            other = self.random.choice(others)
            start = self.random.randrange(len(other))
            change = self.random.randrange(6)
            if change == 0:
                del parts[at:end]
            elif change == 1:
                parts[at:at] = parts[at:end]
            elif change == 2:
                parts[at:end] = reversed(parts[at:end])
            elif change == 3:
                parts[at : at + 1] = [self.random.choice(KEYWORDS + LITERALS + NAMES)]
            elif change == 4:
                parts[at:at] = [self.random.choice([*WRITE_CALLS, *KEYWORDS, *LITERALS, "(", ")", ",", ".", "::", "as", ";"])]
            else:
                parts[at:end] = other[start : start + self.random.randint(1, 6)]
        return parts


def corpus(seed: int, rounds: int, seeds: Sequence[str] = ()) -> list[str]:
    """Return random statements: as generated, spelled oddly, and mutated; `seeds` are mutated too."""
    generator = Generator(seed)
    pool = [found for text in seeds if (found := tokens(text))]
    texts: list[str] = []
    while len(texts) < rounds:
        parts = tokens(generator.statement()) or ["select"]
        pool.append(parts)
        if len(pool) > 5000:
            pool.pop(generator.random.randrange(len(pool)))
        texts.append(generator.spell(parts))
        texts += [generator.spell(generator.mutate(generator.random.choice(pool), pool)) for _ in range(2)]
    return texts
