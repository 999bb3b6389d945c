"""Known host keys: the lines of known_hosts files about a host, and what they say about a key."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from converge.record import dataclass

if TYPE_CHECKING:
    from converge.ssh.known_certificate import Certificate

# What a key of this kind may sign with; a kind that is not here cannot be checked, and is not offered.
_SIGNS_WITH = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}
ALGORITHMS = tuple(algorithm for kind in _SIGNS_WITH.values() for algorithm in kind)


@dataclass(frozen=True)
class HostKey:
    """A public host key, as a line of known_hosts writes it."""

    kind: str
    text: str

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256(base64.b64decode(self.text)).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    def __str__(self) -> str:
        return f"{self.kind} {self.fingerprint}"


@dataclass(frozen=True)
class KnownHostsLine:
    """One line of a known_hosts file that names the host."""

    mark: str
    key: HostKey
    place: str


@dataclass(frozen=True)
class Known:
    """What is known of one host's keys. `lines` name it exactly; `without_port` name its address only."""

    lines: tuple[KnownHostsLine, ...]
    without_port: tuple[KnownHostsLine, ...]

    @property
    def keys(self) -> list[KnownHostsLine]:
        """The lines that name its key, without those that revoke one or name an authority."""
        return [line for line in self.lines if not line.mark]

    def algorithms(self) -> tuple[str, ...]:
        """The signatures to ask for: only those of known keys, so that the host shows a key that can be checked."""
        kinds = {line.key.kind for line in (*self.keys, *self._borrowed())}
        plain = (
            tuple(algorithm for kind in _SIGNS_WITH if kind in kinds for algorithm in _SIGNS_WITH[kind]) or ALGORITHMS
        )
        return (
            tuple(f"{algorithm}-cert-v01@openssh.com" for algorithm in ALGORITHMS) if self._authorities() else ()
        ) + plain

    def revoked(self, key: HostKey, certificate: Certificate | None) -> KnownHostsLine | None:
        """The line that forbids this key, or the authority that vouches for it."""
        shown = (key, certificate.authority) if certificate else (key,)
        lines = (*self.lines, *self.without_port)
        return next((line for line in lines if line.mark == "@revoked" and line.key in shown), None)

    def accepts(self, key: HostKey) -> bool:
        return any(line.key == key for line in (*self.keys, *self._borrowed()))

    def vouch(self, certificate: Certificate, host: str) -> bool:
        """Whether a known authority says that this is the key of that host."""
        named = any(_pattern(name.lower()).fullmatch(host.lower()) for name in certificate.names)
        return (
            certificate.sound
            and named
            and any(authority.key == certificate.authority for authority in self._authorities())
        )

    def _authorities(self) -> list[KnownHostsLine]:
        return [line for line in (*self.lines, *self.without_port) if line.mark == "@cert-authority"]

    def _borrowed(self) -> list[KnownHostsLine]:
        # OpenSSH: where nothing names host and port, a key of the host alone will do, but never count as changed.
        return [] if self.keys else [line for line in self.without_port if not line.mark]


def look_up(names: Sequence[str], files: Iterable[Path]) -> Known:
    """The lines of these files about a host; a file that cannot be read has none."""
    lines: dict[str, list[KnownHostsLine]] = {name: [] for name in names}
    for file in files:
        for names_of, line in _read(file):
            for name in names:
                if names_it(names_of, name):
                    lines[name].append(line)
    first, *rest = (tuple(lines[name]) for name in names)
    return Known(first, tuple(known_line for group in rest for known_line in group))


def names_it(names: str, name: str) -> bool:
    """Whether the first field of a line, hashed or a list of patterns, means this host name."""
    if names.startswith("|1|"):
        return _hashed(names, name)
    named = False
    for pattern in names.lower().split(","):
        if _pattern(pattern.removeprefix("!")).fullmatch(name):
            if pattern.startswith("!"):
                return False
            named = True
    return named


def _hashed(names: str, name: str) -> bool:
    _, _, salt, digest = names.split("|", 3)
    try:
        return hmac.digest(base64.b64decode(salt), name.encode(), "sha1") == base64.b64decode(digest)
    except binascii.Error:
        return False


@lru_cache(maxsize=4096)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(re.escape(text).replace(r"\*", ".*").replace(r"\?", "."))


def _read(file: Path) -> Iterator[tuple[str, KnownHostsLine]]:
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        mark = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if len(fields) >= 3 and not fields[0].startswith("#") and _is_base64(fields[2]):
            yield fields[0], KnownHostsLine(mark, HostKey(fields[1], fields[2]), f"{file}:{number}")


def _is_base64(text: str) -> bool:
    try:
        return bool(base64.b64decode(text, validate=True))
    except binascii.Error:
        return False
