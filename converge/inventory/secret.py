"""Secrets: a value that cannot be printed by accident, and the references it is read from."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from pathlib import Path

from converge.errors import Trouble
from converge.inventory.local_text import Unreadable, place, text_of

PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----\n[A-Za-z0-9+/=\n]+\n-----END \1-----")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
LIMIT = 64 << 10
"""Bytes. Nothing that a person or a program calls a password is longer."""


class Secret:
    """A value that shows itself as `[redacted]`; `reveal()` is the one way to its text."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "[redacted]"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "[redacted]"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return int(hashlib.sha256(self._value.encode()).hexdigest()[:15], 16)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a secret is not written anywhere")


def resolve(reference: dict[str, str], key: str, base: Path) -> Secret:
    """Read the secret that `{env: NAME}`, `{file: PATH}` or `{command: TEXT}` names.

    `key` is the setting's path, for the error; relative files start at `base`. One trailing line end is dropped.
    It is one line, or one private key as ssh-keygen and openssl write it.
    """
    ((how, what),) = reference.items()
    value = {"env": _from_env, "file": _from_file, "command": _from_command}[how](what, key, base)
    value = value.removesuffix("\n").removesuffix("\r")
    if fault := _fault(value):
        raise Trouble(
            f"the secret {key} is {fault}",
            why=f"it was read from {how}: {what}",
            hint=f"put one line of text into {how}: {what}",
        )
    return Secret(value)


def _fault(value: str) -> str:
    if not value:
        return "empty"
    if PRIVATE_KEY.fullmatch(value):
        return ""
    if "\n" in value or "\0" in value:
        return "more than one line"
    if len(value) > LIMIT:
        return f"longer than {LIMIT >> 10} KiB"
    return "not plain text: it has control characters" if CONTROL.search(value) else ""


def _from_env(name: str, key: str, base: Path) -> str:
    if name not in os.environ:
        raise Trouble(f"the secret {key} is missing", why=f"the environment has no {name}", hint=f"export {name}=...")
    return os.environ[name]


def _from_file(name: str, key: str, base: Path) -> str:
    path = Path(name)
    try:
        path = place(base, name)
        return text_of(path, LIMIT)
    except Unreadable as reason:
        exists = path.exists()
        raise Trouble(
            f"the secret {key} {'cannot be read' if exists else 'is missing'}",
            why=f"{path}: {reason}",
            hint=f"name a file of one line that you may read: ls -ld {shlex.quote(str(path))}"
            if exists
            else f"write it to {path} (mode 0600)",
        ) from None


def _from_command(line: str, key: str, base: Path) -> str:
    # Loaded only where a secret comes from a command.
    from converge.inventory.secret_command import Endless, printed

    hint = line
    try:
        done = printed(line, base, LIMIT)
        if not done.code:
            return done.text.decode()
        why = f"`{line}` ended with {done.code}: {done.complaint}"
    except Endless as reason:
        why, hint = f"`{line}`: {reason}", f"name a command that prints one line and ends, in place of `{line}`"
    except UnicodeDecodeError:
        why = f"what `{line}` prints is not text"
    raise Trouble(f"the secret {key} cannot be read", why=why, hint=hint) from None
