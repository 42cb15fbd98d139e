"""A PostgreSQL client of bare messages, for what no driver would send."""

import socket
import ssl
import struct


class Closed(Exception):
    """The other side closed the connection."""


def message(kind, body=b""):
    return kind + struct.pack("!I", len(body) + 4) + body


def cstr(text):
    return (text if isinstance(text, bytes) else text.encode()) + b"\0"


def query(sql):
    return message(b"Q", cstr(sql))


def parse(sql, name=""):
    return message(b"P", cstr(name) + cstr(sql) + struct.pack("!H", 0))


def bind(name="", portal="", values=()):
    body = cstr(portal) + cstr(name) + struct.pack("!HH", 0, len(values))
    for value in values:
        body += struct.pack("!I", len(value)) + value
    return message(b"B", body + struct.pack("!H", 0))


def describe(name="", kind=b"S"):
    return message(b"D", kind + cstr(name))


def execute(portal=""):
    return message(b"E", cstr(portal) + struct.pack("!I", 0))


def close(name="", kind=b"S"):
    return message(b"C", kind + cstr(name))


def flush():
    return message(b"H")


def sync():
    return message(b"S")


def unit(sql):
    """One statement, the way drivers send it."""
    return parse(sql) + bind() + describe(kind=b"P") + execute() + sync()


class Answer:
    """What came up to one ReadyForQuery."""

    def __init__(self):
        self.kinds = ""
        self.columns = []
        self.rows = []
        self.error = None
        self.tags = []
        self.state = None

    @property
    def value(self):
        assert self.error is None, self.error
        return self.rows[0][0]


class Wire:
    def __init__(self, port, dbname, user, host="127.0.0.1", timeout=20, tls=False):
        self.sock = socket.create_connection((host, port), timeout=timeout)
        if tls:
            self._start_tls()
        self.address = (host, port)
        self.buffer = b""
        self.parameters = {}
        params = b"".join(cstr(x) for x in ("user", user, "database", dbname)) + b"\0"
        body = struct.pack("!I", 196608) + params
        self.sock.sendall(struct.pack("!I", len(body) + 4) + body)
        while True:
            kind, body = self.receive()
            if kind == b"R":
                assert struct.unpack("!I", body[:4])[0] == 0, "only trust is spoken here"
            elif kind == b"S":
                key, value = body.split(b"\0")[:2]
                self.parameters[key.decode()] = value.decode()
            elif kind == b"K":
                self.key = body
            elif kind == b"E":
                raise Closed(body)
            elif kind == b"Z":
                break

    def _start_tls(self):
        self.sock.sendall(struct.pack("!II", 8, 80877103))
        assert self.sock.recv(1) == b"S"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.sock = context.wrap_socket(self.sock)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.sock.close()

    def send(self, *parts):
        self.sock.sendall(b"".join(parts))

    def _exactly(self, n):
        while len(self.buffer) < n:
            chunk = self.sock.recv(65536)
            if not chunk:
                raise Closed()
            self.buffer += chunk
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def receive(self):
        kind = self._exactly(1)
        (length,) = struct.unpack("!I", self._exactly(4))
        return kind, self._exactly(length - 4)

    def answer(self):
        """Reads up to the next ReadyForQuery."""
        result = Answer()
        while True:
            kind, body = self.receive()
            result.kinds += kind.decode()
            if kind == b"D":
                result.rows.append(self._row(body))
            elif kind == b"T":
                result.columns = self._columns(body)
            elif kind == b"E":
                fields = dict((f[:1], f[1:]) for f in body.split(b"\0") if f)
                result.error = (fields[b"C"].decode(), fields[b"M"].decode())
                if fields[b"S"] == b"FATAL":
                    raise Closed(result.error)
            elif kind == b"C":
                result.tags.append(body[:-1].decode())
            elif kind == b"Z":
                result.state = body.decode()
                return result

    @staticmethod
    def _columns(body):
        at, names = 2, []
        while at < len(body):
            end = body.index(b"\0", at)
            names.append(body[at:end].decode())
            at = end + 19
        return names

    @staticmethod
    def _row(body):
        (n,) = struct.unpack("!H", body[:2])
        row, at = [], 2
        for _ in range(n):
            (length,) = struct.unpack("!i", body[at : at + 4])
            at += 4
            if length < 0:
                row.append(None)
            else:
                row.append(body[at : at + length].decode())
                at += length
        return row

    def ask(self, *parts):
        self.send(*parts)
        return self.answer()

    def query(self, sql):
        return self.ask(query(sql))

    def cancel(self):
        with socket.create_connection(self.address) as sock:
            sock.sendall(struct.pack("!II", 16, 80877102) + self.key)
            sock.recv(1)
