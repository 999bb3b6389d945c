"""Words for SQL, and passwords as PostgreSQL keeps them: the one place where a value becomes part of a statement."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from functools import lru_cache

from converge.inventory.secret import Secret

LONGEST_NAME = 63
"""Bytes. PostgreSQL shortens a longer name, which is then another name."""
ITERATIONS = 4096
_STORED = re.compile(r"SCRAM-SHA-256\$(\d+):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)")


def ident(name: str) -> str:
    """A name in SQL, taken literally: case, blanks and quotes are part of it."""
    if not name or "\0" in name or len(name.encode()) > LONGEST_NAME:
        raise ValueError(f"not a name that PostgreSQL can keep: {name[:80]!r}")
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text in SQL, whatever it holds and however the server reads backslashes; a NUL, which no text can hold, is refused."""
    if "\0" in text:
        raise ValueError("a NUL byte cannot stand in SQL")
    doubled = text.replace("'", "''").replace("\\", "\\\\")
    return f" E'{doubled}'" if "\\" in text else f"'{doubled}'"


def setting(name: str, value: str) -> str:
    """A setting as `ALTER ... SET` takes it."""
    target = ".".join(ident(part) for part in name.split("."))
    return f"{target} TO {', '.join(literal(item) for item in (words_of(value) if name in _LISTS else [value]))}"


def settings_line(settings: Iterable[str]) -> str:
    """Settings `name=value` in one line, to be compared; a list is the same however its words are quoted."""
    pairs = (line.partition("=") for line in settings)
    plain = [name + equals + (", ".join(words_of(value)) if name in _LISTS else value) for name, equals, value in pairs]
    return "; ".join(sorted(plain)) or "none"


_LISTS = ("search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries")


def words_of(value: str) -> list[str]:
    """The words of a list, without their quotes."""
    return [word.strip().strip('"') for word in value.split(",")]


def literals(values: list[str]) -> str:
    """A list for `= ANY (...)`, also an empty one."""
    return f"ARRAY[{', '.join(literal(value) for value in values)}]::text[]"


def verifier(password: Secret, salt: bytes = b"", iterations: int = ITERATIONS) -> str:
    """What PostgreSQL stores instead of a password (RFC 5803): it can check one with it, and nobody can log in with it."""
    salt = salt or os.urandom(16)
    stored, server = _keys(password, salt, iterations)
    return f"SCRAM-SHA-256${iterations}:{_text(salt)}${_text(stored)}:{_text(server)}"


def is_password_of(stored: str, password: Secret) -> bool:
    """Whether a stored verifier is that of this password."""
    stored_parts = _STORED.fullmatch(stored)
    if stored_parts is None:
        return False
    return hmac.compare_digest(stored, verifier(password, base64.b64decode(stored_parts[2]), int(stored_parts[1])))


@lru_cache(maxsize=256)
def _keys(password: Secret, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    salted = hashlib.pbkdf2_hmac("sha256", password.reveal().encode(), salt, iterations)
    client, server = (hmac.digest(salted, word, "sha256") for word in (b"Client Key", b"Server Key"))
    return hashlib.sha256(client).digest(), server


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
