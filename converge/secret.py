"""Secrets: a value that cannot be printed by accident, and the references it is read from."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path

from converge.errors import Trouble

PRIVATE_KEY = re.compile(r"-----BEGIN ([A-Z ]*PRIVATE KEY)-----\n[A-Za-z0-9+/=\n]+\n-----END \1-----")


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
    if not value or ("\n" in value and not PRIVATE_KEY.fullmatch(value)) or "\0" in value:
        raise Trouble(
            f"the secret {key} is {'empty' if not value else 'more than one line'}",
            why=f"it was read from {how}: {what}",
            hint=f"put one line of text into {how}: {what}",
        )
    return Secret(value)


def _from_env(name: str, key: str, base: Path) -> str:
    if name not in os.environ:
        raise Trouble(f"the secret {key} is missing", why=f"the environment has no {name}", hint=f"export {name}=...")
    return os.environ[name]


def _from_file(name: str, key: str, base: Path) -> str:
    path = base / Path(name).expanduser()
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise Trouble(
            f"the secret {key} is missing", why=f"{path}: {reason}", hint=f"write it to {path} (mode 0600)"
        ) from None


def _from_command(line: str, key: str, base: Path) -> str:
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, cwd=base, check=False)
    if done.returncode:
        why = f"`{line}` ended with {done.returncode}: {done.stderr.decode(errors='replace').strip()[-300:]}"
        raise Trouble(f"the secret {key} cannot be read", why=why, hint=line)
    try:
        return done.stdout.decode()
    except UnicodeDecodeError:
        raise Trouble(f"the secret {key} cannot be read", why=f"what `{line}` prints is not text", hint=line) from None
