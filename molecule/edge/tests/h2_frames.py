"""Raw HTTP/2 frames to the nginx of this host; prints what came back for each kind, as JSON. Runs on the host, with Debian's h2."""

import contextlib
import json
import socket
import ssl

from hpack import Decoder, Encoder
from hyperframe.frame import ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame

HOST = "www.example.org"
SMUGGLED = b"0\r\n\r\nGET /two HTTP/1.1\r\nHost: www.example.org\r\n\r\n"


def connect():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    client = context.wrap_socket(socket.create_connection(("127.0.0.1", 443), timeout=10), server_hostname=HOST)
    assert client.selected_alpn_protocol() == "h2"
    client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize())
    client.settimeout(3)
    return client


def fields(*extra, method="GET", path="/", without=""):
    given = [(":method", method), (":scheme", "https"), (":authority", HOST), (":path", path)]
    return [field for field in given if field[0] != without] + list(extra)


def head(given, stream=1, flags=("END_HEADERS", "END_STREAM")):
    return HeadersFrame(stream, Encoder().encode(given), flags=flags).serialize()


def with_body(body, *extra):
    return head(fields(*extra, method="POST"), flags=("END_HEADERS",)) + DataFrame(1, body, flags=("END_STREAM",)).serialize()


def endless_headers():
    piece = ContinuationFrame(1, b"\x40\x01a\x7f\x00" + b"b" * 127).serialize()
    return HeadersFrame(1, Encoder().encode(fields())).serialize() + piece * 2000


def rapid_resets():
    return b"".join(head(fields(), stream) + RstStreamFrame(stream, 8).serialize() for stream in range(1, 20001, 2))


def heard(sent):
    """Statuses, resets and the end of the connection, in order, up to the end of the first answer."""
    client, decoder, seen, waiting = connect(), Decoder(), [], b""
    with contextlib.suppress(OSError):
        client.sendall(sent)
    try:
        while data := client.recv(65536):
            waiting += data
            while len(waiting) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(waiting[:9]))
                if len(waiting) < 9 + length:
                    break
                frame.parse_body(memoryview(waiting[9 : 9 + length]))
                waiting = waiting[9 + length :]
                if isinstance(frame, HeadersFrame):
                    seen.append(dict(decoder.decode(frame.data))[":status"])
                elif isinstance(frame, (GoAwayFrame, RstStreamFrame)):
                    seen.append("closed" if isinstance(frame, GoAwayFrame) else "reset")
                if frame.stream_id and "END_STREAM" in frame.flags:
                    return seen
        seen.append("closed")
    except TimeoutError:
        seen.append("silent")
    except OSError:
        seen.append("closed")
    return seen


CASES = {
    "plain": head(fields()),
    "body": with_body(b"x", ("content-length", "1")),
    "upper case": head(fields(("X-Upper", "a"))),
    "chunks inside": with_body(SMUGGLED, ("transfer-encoding", "chunked")),
    "body too long": with_body(SMUGGLED, ("content-length", "1")),
    "body too short": with_body(b"x", ("content-length", "100")),
    "line feed in a value": head(fields(("x-a", "b\r\nx-b: c"))),
    "line feed in the path": head(fields(path="/ HTTP/1.1\r\nHost: evil.example\r\n\r\n")),
    "space in the path": head(fields(path="/a b")),
    "relative path": head(fields(path="x")),
    "no path": head(fields(without=":path")),
    "no method": head(fields(without=":method")),
    "two paths": head(fields((":path", "/two"))),
    "another host": head(fields(("host", "evil.example"))),
    "data on stream 0": DataFrame(1, b"x").serialize()[:5] + b"\0\0\0\0x",
    "even stream": head(fields(), 2),
    "broken compression": HeadersFrame(1, b"\xff" * 5, flags=("END_HEADERS", "END_STREAM")).serialize(),
    "empty window update": b"\0\0\4\x08\0\0\0\0\0\0\0\0\0",
    "endless headers": endless_headers(),
    "rapid resets": rapid_resets(),
}
print(json.dumps({name: heard(sent) for name, sent in CASES.items()}))
