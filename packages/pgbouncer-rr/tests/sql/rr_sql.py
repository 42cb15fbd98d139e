"""The SQL classifier of pgbouncer-rr as a Python module, for its tests: compiles the C file and calls it."""

import ctypes
import os
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).parents[2] / "src" / "rr_sql.c"
KINDS = ["empty", "read", "begin read only", "begin", "commit or rollback", "session", "write"]
UTF8, SINGLE_BYTE, ASCII_ONLY = range(3)


class _Options(ctypes.Structure):
    _fields_ = (
        ("encoding", ctypes.c_int),
        ("standard_conforming_strings", ctypes.c_bool),
        ("read_functions", ctypes.c_void_p),
    )


class _Result(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_int),
        ("reason", ctypes.c_char_p),
        ("offset", ctypes.c_size_t),
        ("length", ctypes.c_size_t),
    )


class Result(NamedTuple):
    """What the classifier says of a text."""

    kind: str
    reason: str | None
    token: bytes


def _load() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "rr_sql.so"
        compiler = os.environ.get("CC", "cc")
        flags = ["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        subprocess.run([compiler, *flags, str(SOURCE), "-o", str(library)], check=True)
        loaded = ctypes.CDLL(str(library))
    loaded.rr_sql_functions_parse.restype = ctypes.c_void_p
    loaded.rr_sql_functions_free.argtypes = [ctypes.c_void_p]
    loaded.rr_sql_functions_free.restype = None
    loaded.rr_sql_fingerprint.restype = ctypes.c_bool
    loaded.rr_sql_shape.restype = ctypes.c_size_t
    loaded.rr_sql_kind_name.restype = ctypes.c_char_p
    return loaded


_library = _load()


class Classifier:
    """The classifier under one set of options."""

    def __init__(self, encoding: int = UTF8, conforming: bool = True, functions: str = "") -> None:
        """Set the options; `functions` is a list as the configuration has it."""
        error = ctypes.c_char_p()
        self._functions = _library.rr_sql_functions_parse(functions.encode(), ctypes.byref(error))
        if not self._functions:
            raise ValueError((error.value or b"").decode())
        self._options = _Options(encoding, conforming, self._functions)

    def __del__(self) -> None:
        """Free the list."""
        if getattr(self, "_functions", None):
            _library.rr_sql_functions_free(self._functions)

    def classify(self, sql: bytes | str) -> Result:
        """Return what the classifier says."""
        text = sql.encode() if isinstance(sql, str) else sql
        result = _Result()
        _library.rr_sql_classify(text, ctypes.c_size_t(len(text)), ctypes.byref(self._options), ctypes.byref(result))
        token = text[result.offset : result.offset + result.length]
        return Result(KINDS[result.kind], result.reason.decode() if result.reason else None, token)

    def fingerprint(self, sql: bytes | str) -> bytes | None:
        """Return the folded text, or None if the text is not understood."""
        text = sql.encode() if isinstance(sql, str) else sql
        out = ctypes.create_string_buffer(len(text) + 1)
        out[len(text)] = b"\xa5"
        length = ctypes.c_size_t()
        understood = _library.rr_sql_fingerprint(
            text, ctypes.c_size_t(len(text)), ctypes.byref(self._options), out, ctypes.byref(length)
        )
        assert out[len(text)] == b"\xa5" and length.value <= len(text), "written past the text's length"
        return out.raw[: length.value] if understood else None


def shape(sql: bytes | str) -> bytes | None:
    """Return the text with its numbers as 0, or None if it has no shape."""
    text = sql.encode() if isinstance(sql, str) else sql
    out = ctypes.create_string_buffer(len(text) + 1)
    out[len(text)] = b"\xa5"
    length = _library.rr_sql_shape(text, ctypes.c_size_t(len(text)), out)
    assert out[len(text)] == b"\xa5" and length <= len(text), "written past the text's length"
    return out.raw[:length] or None


def encoding(name: str) -> int:
    """Return the class of a client_encoding."""
    return int(_library.rr_sql_encoding(name.encode()))


def kind_name(kind: int) -> str:
    """Return the name that the C code gives a kind."""
    return _library.rr_sql_kind_name(kind).decode()
