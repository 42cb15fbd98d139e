"""RELOAD while TLS connections to servers are being made: each keeps the settings that it began with."""

import socket
import threading
import time

import pytest


class SlowServer:
    """A way to a server on which a TLS handshake stops until it may go on."""

    def __init__(self, port):
        self.server_port = port
        self.held = threading.Event()
        self.go_on = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.server_port))
            threading.Thread(target=self.copy, args=(near, far), daemon=True).start()
            threading.Thread(target=self.copy_slowly, args=(far, near), daemon=True).start()

    @staticmethod
    def copy(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def copy_slowly(self, source, target):
        target.sendall(source.recv(1))
        source.recv(1, socket.MSG_PEEK)
        self.held.set()
        self.go_on.wait()
        self.copy(source, target)


@pytest.fixture
def slow(cluster):
    server = SlowServer(cluster.primary.port)
    yield server
    server.go_on.set()
    server.listener.close()


def test_reload_during_a_handshake(pooler, tls, slow):
    pooler.databases["app"] = f"host=127.0.0.1 port={slow.port} dbname=app"
    pooler.start(server_tls_sslmode="require", server_tls_ca_file=tls / "cert.pem")
    answers = []

    def client():
        with pooler.connect() as conn:
            answers.append(conn.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()[0])

    thread = threading.Thread(target=client)
    thread.start()
    assert slow.held.wait(10)
    pooler.reload()
    slow.go_on.set()
    thread.join(10)
    assert answers == [True]
    assert "TLS handshake error" not in pooler.log


def test_reload_while_connecting(pooler, tls):
    pooler.start(server_tls_sslmode="require", server_tls_ca_file=tls / "cert.pem", server_lifetime=0)
    end, answers, failures = time.monotonic() + 60, [], []

    def wanted():  # each answer takes a connection of its own
        return len(answers) < 60 and time.monotonic() < end

    def client():
        try:
            with pooler.connect() as conn:
                while wanted():
                    answers.append(conn.execute("SELECT 1").fetchone()[0])
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    while wanted() and not failures:
        pooler.reload()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(answers) > 50
    assert "TLS handshake error" not in pooler.log
