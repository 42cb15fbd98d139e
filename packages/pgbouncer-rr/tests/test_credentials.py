"""The routed pool's credentials, for each way to log in."""

import pytest

WHERE = "SELECT inet_server_port()"
RULES = """
def routing_rules(username, query):
    return 'replica1' if 'inet_server_port' in query else 'app'
"""
USERS = {"carol": "carol's", "dave": "dave's", "keeper": "keeper's"}


@pytest.fixture(scope="module")
def guarded(cluster, tmp_path_factory):
    """The cluster with passwords, TLS, and a log-in by SCRAM for some."""
    primary = cluster.primary
    for user, password in USERS.items():
        primary.sql(f"CREATE ROLE {user} LOGIN PASSWORD '{password.replace(chr(39), chr(39) * 2)}'")
        primary.sql(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {user}")
    primary.sql("ALTER ROLE keeper SUPERUSER")
    primary.sql("SET password_encryption = 'md5'; CREATE ROLE olga LOGIN PASSWORD 'olga'")
    cluster.caught_up()
    for server in (primary, *cluster.replicas):
        (server.data / "pg_hba.conf").write_text(
            "host all olga all md5\n"
            + "".join(f"host all {user} all scram-sha-256\n" for user in USERS)
            + "host all all all trust\nhost replication all all trust\n"
        )
        server.sql("SELECT pg_reload_conf()")
    yield cluster


def secret(cluster, user):
    return cluster.primary.sql(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'")


def check(pooler, user, password, dbname="app", as_user=None, **kwargs):
    with pooler.connect(dbname, user, password=password, **kwargs) as conn:
        for _ in range(3):
            row = conn.execute("SELECT inet_server_port(), current_user").fetchone()
            assert (pooler.server_of(row[0]), row[1]) == ("replica1", as_user or user)
            assert conn.execute("SELECT current_user").fetchone()[0] == (as_user or user)


@pytest.fixture
def routed(pooler, guarded):
    pooler.settings["routing_rules_py_module_file"] = pooler.rules(RULES)
    return pooler


def test_auth_file_plain(routed):
    routed.users = dict(USERS)
    routed.start(auth_type="scram-sha-256")
    check(routed, "carol", USERS["carol"])
    check(routed, "dave", USERS["dave"])


def test_auth_file_md5(routed, guarded):
    routed.users = {"olga": secret(guarded, "olga")}
    routed.start(auth_type="md5")
    check(routed, "olga", "olga")


def test_scram_pass_through(routed, guarded):
    routed.users = {user: secret(guarded, user) for user in USERS}
    routed.start(auth_type="scram-sha-256")
    check(routed, "carol", USERS["carol"])
    check(routed, "dave", USERS["dave"])


def test_auth_query(routed, guarded):
    routed.users = {"keeper": USERS["keeper"]}
    routed.start(auth_type="scram-sha-256", auth_user="keeper")
    check(routed, "carol", USERS["carol"])
    check(routed, "carol", USERS["carol"])
    # its own log-in there, before and after
    with routed.connect("replica1", "dave", password=USERS["dave"]) as conn:
        assert conn.execute("SELECT current_user").fetchone()[0] == "dave"
    check(routed, "dave", USERS["dave"])
    # a new password
    guarded.primary.sql("ALTER ROLE carol PASSWORD 'new'")
    guarded.caught_up()
    routed.console("RECONNECT")
    try:
        with routed.connect("app", "carol", password="new") as conn:
            for _ in range(4):
                assert conn.execute(WHERE).fetchone()
    finally:
        guarded.primary.sql("ALTER ROLE carol PASSWORD 'carol''s'")


def test_auth_query_without_the_home_database(routed, guarded):
    """What was copied from it must outlive it."""
    routed.users = {"keeper": USERS["keeper"]}
    routed.databases["home"] = routed.databases["app"]
    routed.start(auth_type="scram-sha-256", auth_user="keeper")
    check(routed, "carol", USERS["carol"], dbname="home")
    del routed.databases["home"]
    routed.reload()
    check(routed, "carol", USERS["carol"])


def test_forced_user_of_the_target(routed):
    routed.users = dict(USERS)
    routed.databases["replica1"] += " user=dave"
    routed.start(auth_type="scram-sha-256")
    with routed.connect("app", "carol", password=USERS["carol"]) as conn:
        row = conn.execute("SELECT inet_server_port(), current_user").fetchone()
        assert (routed.server_of(row[0]), row[1]) == ("replica1", "dave")
        assert conn.execute("SELECT current_user").fetchone()[0] == "carol"


def test_forced_user_of_home(routed, guarded):
    """The client's own name counts elsewhere, and its SCRAM keys were kept for it."""
    routed.users = {"carol": secret(guarded, "carol")}
    routed.databases["app"] += " user=alice"
    routed.start(auth_type="scram-sha-256")
    with routed.connect("app", "carol", password=USERS["carol"]) as conn:
        row = conn.execute("SELECT inet_server_port(), current_user").fetchone()
        assert (routed.server_of(row[0]), row[1]) == ("replica1", "carol")


def test_any_user(routed):
    routed.databases = {name: value + " user=alice" for name, value in routed.databases.items()}
    routed.databases["open"] = routed.databases["app"].replace(" user=alice", "")
    routed.rules(RULES.replace("'replica1' if", "'open' if 'open' in query else 'replica1' if"))
    routed.start(auth_type="any")
    with routed.connect("app", "whoever") as conn:
        assert routed.server_of(conn.execute(WHERE).fetchone()[0]) == "replica1"
        assert routed.server_of(conn.execute(WHERE + " -- open").fetchone()[0]) == "primary"


def test_tls_on_both_sides(routed, tls):
    routed.users = dict(USERS)
    routed.start(
        auth_type="scram-sha-256", client_tls_sslmode="require", client_tls_key_file=tls / "key.pem",
        client_tls_cert_file=tls / "cert.pem", server_tls_sslmode="verify-full", server_tls_ca_file=tls / "cert.pem",
    )  # fmt: skip
    with routed.connect("app", "carol", password=USERS["carol"], sslmode="require") as conn:
        row = conn.execute(
            "SELECT inet_server_port(), ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        ).fetchone()
        assert (routed.server_of(row[0]), row[1]) == ("replica1", True)
