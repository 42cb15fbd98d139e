"""One line for each thing that the classifier must tell apart."""

import time

import pytest
import rr_sql

READS = r"""
select 1
SELECT 1;
select 1 ; ;
table t
values (1), (2)
(select 1) union all (select 2)
((select 1))
select * from t where a in (1, 2) and b = any (array[1]) or not (c)
select count(*), sum(x) filter (where y > 0), rank() over (partition by a order by (b)) from t
select rank() over w from t window w as (partition by a)
select percentile_cont(0.5) within group (order by x) from t
select pg_catalog.lower('A'), "lower"('A'), PG_CATALOG . "lower" ('A'), LOWER/**/('A')
select current_timestamp, current_timestamp(3), localtime, current_user, current_schema, current_date
select now(), clock_timestamp(), random(), gen_random_uuid(), version(), pg_sleep(0)
select coalesce(a, b), nullif(a, b), greatest(1, 2), extract(year from now()), substring('abc' from 1 for 2)
select cast(a as numeric(10, 2)), a::numeric(10,2), a::character varying(10), a::pg_catalog.varchar(3), b::s.t(4) from t
select interval '1' day, timestamp(3) with time zone '2020-01-01', date '2020-01-01', x at time zone 'UTC' from t
select distinct on (a) a, b from t order by a, b
select * from (values (1, 2)) as v(a, b), generate_series(1, 3) g(i), lateral (select 1) l (x)
select * from json_to_record('{}') as x(a int, b text)
select * from a join (select 1) b on (true) join (select 2) c using (x) left join (select 3) d on (a.x = d.x)
select * from a left outer join lateral (select 1) b on true natural join (select 2) c
select * from rows from (generate_series(1, 2), unnest(array[1])) with ordinality as t(a, b, n)
with x as (select 1), y(a, b) as materialized (select 1, 2), z as not materialized (table t) select * from x, y
with recursive t(n) as (values (1) union all select n + 1 from t where n < 100) select sum(n) from t
with "x"(a) as (select 1) (select * from x)
select a from t group by grouping sets ((a), ()), (b) having (count(*) > 1) order by (a) limit (1) offset (2)
select a from t group by rollup (a)
select case when a then (b) else (c) end, exists (select 1), row(1, 2), array(select 1) from t
select 'it''s; delete from t', E'\'; delete', $$ ; update t $$, $a$ $$ $a$, x'1F', b'01', n'n' -- into
select /* /* nested */ delete from t */ 1
select 1 -- for update
select "update", "into", t."delete" from "insert" t
select a ?| array['x'], a @> b, a #>> '{x}', !!a, a <-> b, a !~* 'x', -1, - -1 from t
select $1, $2::int from t where a = $3
select 1e10, .5, 1., 1.5e-3
explain select 1
explain analyze verbose select 1
explain (analyze, buffers off, format json) select 1
explain (select 1)
copy t to stdout
copy s."T" (a, b) to stdout with (format csv, header)
copy (select * from t where (a)) to stdout
copy (with x as (select 1) table x) to stdout csv
select "né", é from t
select f.x from f
select a.b.c.d from a.b.c
select * from pg_class
select pg_total.a from pg_total
select left('abc', 2), right('abc', 1) from t
select a like (b), a not like (b), a ilike (b) from t
select string_agg(distinct a, ',' order by b) from t
select trim(both 'x' from a), overlay(a placing b from 1 for 2), position('a' in b) from t
select sum(a) over (order by b rows between 1 preceding and current row) from t
select * from t tablesample system (1), u tablesample "bernoulli" (2) repeatable (3)
"""

WRITES = r'''
insert into t values (1)
update t set a = 1
delete from t
merge into t using s on true when matched then do nothing
truncate t
create table t ()
with x as (insert into t values (1) returning *) select * from x
with x as (select 1), y as materialized (delete from t returning 1) select * from x
select * from (with x as (update t set a = 1 returning a) select * from x) y
with x as (merge into t using s on true when matched then delete returning 1) select 1
with x as (select 1) delete from t
select * from t for update
select * from t FOR/**/NO KEY UPDATE skip locked
select * from t for share of t nowait
select * from t for key share
select * from t for read only
(select * from t for update)
select 1 into x
select * into temp x from t
with a as (select 1) select * into x from a
select nextval('s')
select currval('s'), lastval()
select setval('s', 1)
select set_config('TimeZone', 'UTC', false)
select current_setting('transaction_read_only')
select setseed(0.5)
select pg_advisory_lock(1)
select pg_try_advisory_xact_lock(1)
select pg_notify('a', 'b')
select pg_promote()
select txid_current(), pg_current_xact_id()
select pg_export_snapshot()
select lo_create(0)
select dblink('a', 'b')
select pg_is_in_recovery()
select pg_backend_pid()
select query_to_xml('delete from t', true, true, '')
select "nextval"('s')
select pg_catalog.nextval('s')
select pg_catalog . /* x */ "nextval" -- y
  ('s')
select U&"nextval"('s')
select u&"\006eextval"('s')
select U&'x'
select f(1)
select public.now()
select db.pg_catalog.now()
select (t).f(1)
select . (1)
select 1 . (2)
select "LOWER"('a')
select "pg_catalog""".now()
select * from f()
select * from lateral f(1) as x(a)
select * from rows from (f(1))
select 1 where exists (select nextval('s'))
values (nextval('s'))
select distinct on (a) nextval('s') from t
select distinct on (a) over(1) from t
select a operator(pg_catalog.+) f(1)
select over(1), join(1), partition(1), filter(1), by(1), cube(1), sets(1), materialized(1), zone(1)
select not materialized(1)
select treat(x as nextval)
with x as (select 1) (select a) order by a, f(1)
select 1 as with, f(1)
select 1 with, f(1)
with x as (select 1), y as (select 2) select 1, f(1)
with x as (select 1) search breadth first by a set b select 1, f(1)
select x like y escape f(z)
select * from f(a) as (x int)
select * from x, f(a) as (x int)
select x at time zone f('a')
select sum(a) over (order by b range f(1) preceding) from t
select * from t tablesample f(1)
select * from t tablesample family(1)
select * from t tablesample bernoulli(nextval('s'))
select system(1)
select json_value(a, 'b' default f(1) on error)
select xmltable(xmlnamespaces(f(1) as x), 'a' passing b columns c int path f(1))
select 1; select 2
select 1; delete from t
; select 1
begin; select 1
begin read only; select 1
copy t from stdin
copy t to 'file'
copy t to program 'x'
copy (delete from t returning 1) to stdout
copy (select nextval('s')) to stdout
copy (select 1) to 'x'
copy (select 1) from stdin
copy t (a, b) from stdin
explain delete from t
explain analyze delete from t
explain (analyze) insert into t values (1)
explain analyze with x as (delete from t returning 1) select 1
explain analyze select nextval('s')
explain execute p
explain create table x as select 1
explain analyze create table x as select 1
explain (analyze) declare c cursor for select 1
declare c cursor for select 1
prepare p as select 1
execute p
deallocate p
call p()
do $$ begin end $$
lock table t
listen a
notify a
unlisten *
discard all
fetch 1 from c
savepoint a
release a
rollback to a
rollback to savepoint a
rollback and chain
commit and chain
commit prepared 'x'
rollback prepared 'x'
prepare transaction 'x'
vacuum
analyze t
refresh materialized view v
checkpoint
set constraints all immediate
begin nonsense
select 'a' 'b'
select E'a'
  '\'', nextval('s'), E'
select 'unfinished
select "unfinished
select $$ unfinished
select $a$ unfinished $b$
select /* unfinished
select /* /* unfinished */
select 1 \ 2
select {fn now()}
select 1a, 0x1F, 1_000
select 1.e
select $1a
select 1$$a$$
select (1
select 1)
select * from pg_stat_activity
select * from pg_catalog."pg_locks"
select * from pg_stat_user_tables
select * from pg_temp.t
select * from "pg_temp_3"."t"
select last_value, is_called from s
'''

OTHERS = {
    "begin": ["begin", "BEGIN WORK;", "begin transaction", "start transaction", "begin read write",
              "begin isolation level repeatable read", "begin isolation level serializable read only",
              "start transaction read only, read write", "begin read only isolation level serializable deferrable"],
    "begin read only": ["begin read only", "start transaction read only;", "BEGIN WORK READ ONLY",
                        "begin transaction isolation level repeatable read, read only, not deferrable",
                        "begin read only isolation level read committed"],
    "commit or rollback": ["commit", "end;", "rollback", "abort work", "commit transaction", "commit and no chain"],
    "session": ["set x = 1", "set local x to 'a;b'", "reset all", "show x", "SHOW transaction_read_only;",
                "set transaction read write", "set session characteristics as transaction read only", "set role x"],
    "empty": ["", " ", ";", " ; ;", "-- comment", "/* /* */ */ ;"],
}  # fmt: skip


def lines(table: str) -> list[str]:
    """Return the statements of a table; a line with an indent continues the one before."""
    return table.strip().replace("\n  ", "\v  ").split("\n")


CASES = [(sql.replace("\v", "\n"), kind) for kind, table in (("read", READS), ("write", WRITES)) for sql in lines(table)]
CASES += [(sql, kind) for kind, texts in OTHERS.items() for sql in texts]


@pytest.mark.parametrize(("sql", "kind"), CASES)
def test_kind(sql: str, kind: str) -> None:
    """A text is of its kind; a write comes with a reason and nothing else does."""
    result = rr_sql.Classifier().classify(sql)
    assert result.kind == kind, result
    assert (result.reason is None) == (kind != "write")


def test_every_keyword_that_locks_or_writes_within_any_statement() -> None:
    """The words that make a query a write do so at any depth."""
    classifier = rr_sql.Classifier()
    for tail in ("for update", "for share", "for no key update", "for key share"):
        for wrap in ("{}", "select * from ({}) x", "with x as ({}) select 1", "select 1 where exists ({})", "({}) union {}"):
            locking = "select 1 from t " + tail
            assert classifier.classify(wrap.format(locking, locking)).kind == "write"


def test_reason_names_the_token() -> None:
    """The reason points at what decided."""
    assert rr_sql.Classifier().classify("select a, s.nextval ('x')") == (
        "write",
        "a function that is not known to be a read",
        b"nextval",
    )


def test_read_functions_of_the_site() -> None:
    """A listed function is a read exactly in the spelling that the list has."""
    classifier = rr_sql.Classifier(functions="st_distance, geo.near\ncamelCase,dblink")
    for sql in ("st_distance(1)", "ST_Distance(1)", '"st_distance"(1)', "geo.near(1)", "GEO . near(1)", '"camelCase"(1)'):
        assert classifier.classify("select " + sql).kind == "read", sql
    for sql in ("near(1)", "geo.st_distance(1)", "x.geo.near(1)", "camelCase(1)", '"ST_Distance"(1)', "camelcase(1)"):
        assert classifier.classify("select " + sql).kind == "write", sql


@pytest.mark.parametrize("bad", ['"a"', "a.b.c", ".a", "a.", "a(int)", "a;b", "a" * 64, "a." + "b" * 64])
def test_malformed_lists_of_functions(bad: str) -> None:
    """A list that could be misread is refused."""
    with pytest.raises(ValueError, match="function"):
        rr_sql.Classifier(functions=f"ok, {bad}")


def test_standard_conforming_strings_off() -> None:
    """With old strings nothing is a read."""
    old = rr_sql.Classifier(conforming=False)
    for sql in ("select 1", "select 'a'", r"select '\'', nextval('s'), '", "explain select 1"):
        assert old.classify(sql).kind == "write"
    assert old.classify("begin").kind == "begin"


@pytest.mark.parametrize(
    "bad", [b"\xff", b"\xc0\xa7", b"\xe0\x80\xa7", b"\xed\xa0\x80", b"\xf0\x80\x80\xa7", b"\xf4\x90\x80\x80", b"\xc3", b"\0"]
)
def test_invalid_utf8(bad: bytes) -> None:
    """Text that the server would refuse to read is not judged, wherever the bad bytes stand."""
    for text in (b"select '%s'", b"select 1 -- %s", b'select "%s" from a_long_enough_name', b"%s"):
        assert rr_sql.Classifier().classify(text.replace(b"%s", bad)).kind == "write"


def test_encodings() -> None:
    """Names of encodings as PostgreSQL accepts them, and what each lets through."""
    for name in ("UTF8", "utf-8", "Unicode"):
        assert rr_sql.encoding(name) == rr_sql.UTF8
    for name in ("LATIN1", "ISO-8859-1", "iso88595", "WIN1252", "windows-1251", "KOI8R", "SQL_ASCII", "WIN866", "TCVN", "ALT"):
        assert rr_sql.encoding(name) == rr_sql.SINGLE_BYTE
    for name in ("SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB", "EUC_JP", "WIN932", "WIN949", "windows-936", "", "x" * 99):
        assert rr_sql.encoding(name) == rr_sql.ASCII_ONLY
    text = b"select 'caf\xe9'"
    assert rr_sql.Classifier(rr_sql.SINGLE_BYTE).classify(text).kind == "read"
    assert rr_sql.Classifier(rr_sql.UTF8).classify(text).kind == "write"
    assert rr_sql.Classifier(rr_sql.ASCII_ONLY).classify(text).kind == "write"
    # In Shift JIS 0x95 0x5C is one character, whose second byte looks like a backslash.
    assert rr_sql.Classifier(rr_sql.encoding("SJIS")).classify(b"select E'\x95\x5c', f(1) --'").kind == "write"


def test_kind_names() -> None:
    """The names of the kinds are those that the tests use."""
    assert [rr_sql.kind_name(kind) for kind in range(len(rr_sql.KINDS))] == rr_sql.KINDS


def test_names_longer_than_postgresql_keeps() -> None:
    """A name that PostgreSQL cuts off is no name of the list."""
    classifier = rr_sql.Classifier(functions="f" * 63)
    assert classifier.classify(f"select {'f' * 63}(1)").kind == "read"
    assert classifier.classify(f"select {'f' * 64}(1)").kind == "write"


FINGERPRINTS = [
    ("select 1", "SELECT\n\t22 -- c", "select 0"),
    ("select 'a',E'b\\'',$$c$$", "select x'1F' , n'' , 'longer'", "select '','',''"),
    ("select a /* x */ from t where a=1.5e3", "select A from T where a = .5", "select a from t where a=0"),
    ("select 1 < = 2", "select 1 <   = 3", "select 0< =0"),
    ('select "A b"."c"', 'select  "A b" . "c"', 'select"A b"."c"'),
    ('select u&  "a\\b"', 'select U& "a\\b"', 'select u& "a\\b"'),
]


@pytest.mark.parametrize(("one", "other", "folded"), FINGERPRINTS)
def test_fingerprint(one: str, other: str, folded: str) -> None:
    """Texts that differ in literals, comments, white space and case fold into one."""
    classifier = rr_sql.Classifier()
    assert classifier.fingerprint(one) == classifier.fingerprint(other) == folded.encode()


def test_fingerprints_that_must_differ() -> None:
    """What PostgreSQL reads differently stays apart."""
    texts = ["a $1", "a$1", "a < = b", "a <= b", "a b", "ab", '"a" "b"', '"a""b"', '"A"', "a", "- -1", "-1", "$1", "$2",
             ". 5", ".5", "a::b", "a: :b", "e 'x'", "E'x'", 'u & "x"', "u&x'1'", "1 .5", "1.5", "a.5", "a0", "..5", ".0",
             "a.b", "f(a)", "f a"]  # fmt: skip
    classifier = rr_sql.Classifier()
    prints = [classifier.fingerprint(f"select {text}") for text in texts]
    assert len(set(prints)) == len(texts) - 3, "only .5, 1.5 and .0 are alike, and . 5 and ..5"


@pytest.mark.parametrize("text", ["select 'a", "select \\", "select U&'x'", "select 1a", b"select '\xff'"])
def test_no_fingerprint(text: str | bytes) -> None:
    """A text that is not understood has none."""
    assert rr_sql.Classifier().fingerprint(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "select " + "(" * 500000,
        "select " + "/*" * 500000,
        "select $a$" + "$a" * 300000,
        "select " + "1," * 500000 + "1",
        "select '" + "''" * 500000,
        "with " * 200000,
        "select " + "$a" * 500000,
        "select " + "a." * 500000,
    ],  # fmt: skip
)
def test_time_is_linear(text: str) -> None:
    """A megabyte of anything takes milliseconds."""
    classifier = rr_sql.Classifier()
    begin = time.process_time()
    classifier.classify(text)
    classifier.fingerprint(text)
    assert time.process_time() - begin < 0.5


@pytest.mark.parametrize(
    ("sql", "shape"),
    [
        ("select 12, 3.45e6 from t1 where a = -7", "select 0, 0.0e6 from t1 where a = -0"),
        ("select f1(2), $3, a_4, é5, '6 7'", "select f1(0), $3, a_4, é5, '0 0'"),
        ("1", "0"),
        ("", None),
        ('select "f1"(2), "1""2", $3', 'select "f1"(0), "1""2", $3'),
        ("""select '"', "1", 2, 'it''s "3"'""", """select '"', "1", 0, 'it''s "0"'"""),
        ('select "f1"(2) -- "', None),
        ('select "f1"(2) /* " */', None),
        ("select $a$ \" $a$, 2", None),
        ("select E'\\'\"', 2", None),
    ],
)
def test_shape(sql: str, shape: str | None) -> None:
    """Numbers are 0, but a digit in a name stays."""
    assert rr_sql.shape(sql) == (shape.encode() if shape else None)
