"""The one secret of a stack's backups: an age identity, and the keys that are derived from it."""

from __future__ import annotations

import hashlib
import hmac
import io
import os
import re
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress

from worker.contract import FAILED, REFUSED, VERIFY_FAILED
from worker.errors import Failed
from worker.pipes import widen

IDENTITY = re.compile(r"AGE-SECRET-KEY-1[0-9A-Z]{58}")
RECIPIENT = re.compile(r"age1[0-9a-z]{58}")
SALT = b"stowage backup v1"
MANIFESTS, BLOB_NAMES = b"manifests", b"blob names"
BLOCK = 1 << 20
HINT = "backup.identity must name the secret that `age-keygen` wrote"


class Keys:
    """Encrypts, decrypts and signs with one identity, which never stands in an argument, a file or an error."""

    def __init__(self, identity: str) -> None:
        lines = [line.strip() for line in identity.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        if len(lines) != 1 or not IDENTITY.fullmatch(lines[0].upper()):
            why = "it has to be one line, AGE-SECRET-KEY-1 and 58 letters and digits"
            raise Failed(REFUSED, "the backup identity is no age identity", why=why, hint=HINT)
        self._identity = lines[0].upper().encode()
        code, said, _ = _through(["age-keygen", "-y"], self._identity + b"\n")
        self.recipient = said.decode(errors="replace").strip()
        if code or not RECIPIENT.fullmatch(self.recipient):
            raise Failed(REFUSED, "the backup identity is no age identity", why="its checksum is wrong", hint=HINT)
        secret = hmac.digest(SALT, self._identity, "sha256")
        self._mac, self._names = (hmac.digest(secret, label + b"\x01", "sha256") for label in (MANIFESTS, BLOB_NAMES))

    def __repr__(self) -> str:
        return f"Keys({self.recipient})"

    def encrypt(self, plain: bytes | bytearray) -> bytes:
        """What only this identity can read."""
        code, stored, said = _through(["age", "-r", self.recipient], plain)
        if code:
            raise Failed(FAILED, "age could not encrypt", why=said)
        return stored

    def decrypt(self, stored: bytes) -> bytes:
        """What was encrypted; anything that this identity did not encrypt, or that was changed since, is refused."""
        door, hand = os.pipe()
        try:
            # It is shorter than a pipe holds, so this does not wait for a reader.
            os.write(hand, self._identity + b"\n")
            os.close(hand)
            code, plain, said = _through(["age", "-d", "-i", f"/dev/fd/{door}"], stored, door)
        finally:
            os.close(door)
        if not code:
            return plain
        if "no identity matched" in said:
            hint = "the stack's own identity is needed: " + HINT
            raise Failed(VERIFY_FAILED, "this was encrypted for another identity", why=said, hint=hint)
        raise Failed(VERIFY_FAILED, "this cannot be decrypted", why=said)

    def mac(self, data: bytes) -> str:
        """What only a holder of the identity can write beneath `data`."""
        return hmac.new(self._mac, data, hashlib.sha256).hexdigest()

    def name(self, sha256: str) -> str:
        """What a blob is called on a target: from its content, but telling a stranger nothing of it."""
        return hmac.new(self._names, bytes.fromhex(sha256), hashlib.sha256).hexdigest()


def _through(argv: Sequence[str], data: bytes | bytearray, *pass_fds: int) -> tuple[int, bytes, str]:
    """Exit code, output and complaint of a program that is fed `data`; no byte of the output is held twice."""
    try:
        child = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=pass_fds
        )
    except OSError as error:
        raise Failed(
            REFUSED, f"{argv[0]} cannot be started", why=error.strerror or "", hint="apt install age"
        ) from None
    assert child.stdin is not None and child.stdout is not None and child.stderr is not None
    widen(child.stdin, child.stdout)
    complaint: list[bytes] = []
    feeder = threading.Thread(target=_feed, args=(child, data), daemon=True)
    listener = threading.Thread(target=lambda: complaint.append(child.stderr.read()), daemon=True)  # type: ignore[union-attr]
    output = io.BytesIO()
    with child:
        feeder.start()
        listener.start()
        while block := os.read(child.stdout.fileno(), BLOCK):
            output.write(block)
        feeder.join()
        listener.join()
    said = [line.removeprefix("age: ").strip() for line in b"".join(complaint).decode(errors="replace").splitlines()]
    # age adds where to report bugs of its own to every error.
    return child.returncode, output.getvalue(), "; ".join(one for one in said if one and "report" not in one)


def _feed(child: subprocess.Popen[bytes], data: bytes | bytearray) -> None:
    assert child.stdin is not None
    # A program that refuses its input closes it; its exit code says the rest.
    with suppress(OSError):
        child.stdin.write(data)
    with suppress(OSError):
        child.stdin.close()
