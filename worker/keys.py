"""The one secret of a stack's backups: an age identity, and the keys that are derived from it."""

from __future__ import annotations

import hashlib
import hmac
import os
import re

from worker.contract import FAILED, REFUSED, VERIFY_FAILED
from worker.errors import Failed
from worker.pipes import through

IDENTITY = re.compile(r"AGE-SECRET-KEY-1[0-9A-Z]{58}")
RECIPIENT = re.compile(r"age1[0-9a-z]{58}")
SALT = b"stowage backup v1"
MANIFESTS, BLOB_NAMES = b"manifests", b"blob names"
HINT = "backup.identity must name the secret that `age-keygen` wrote"


class Keys:
    """Encrypts, decrypts and signs with one identity, which is never in an argument, a file or an error."""

    def __init__(self, identity: str) -> None:
        lines = [line.strip() for line in identity.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        if len(lines) != 1 or not IDENTITY.fullmatch(lines[0].upper()):
            why = "it has to be one line, AGE-SECRET-KEY-1 and 58 letters and digits"
            raise Failed(REFUSED, "the backup identity is no age identity", why=why, hint=HINT)
        self._identity = lines[0].upper().encode()
        code, answer, _ = through(["age-keygen", "-y"], self._identity + b"\n")
        self.recipient = answer.decode(errors="replace").strip()
        if code or not RECIPIENT.fullmatch(self.recipient):
            raise Failed(REFUSED, "the backup identity is no age identity", why="its checksum is wrong", hint=HINT)
        secret = hmac.digest(SALT, self._identity, "sha256")
        self._mac, self._names = (hmac.digest(secret, label + b"\x01", "sha256") for label in (MANIFESTS, BLOB_NAMES))

    def __repr__(self) -> str:
        return f"Keys({self.recipient})"

    def encrypt(self, plain: bytes | bytearray) -> bytes:
        """The encrypted bytes, which only this identity can read."""
        code, stored, errors = through(
            ["age", "-r", self.recipient], plain, expect=len(plain) + len(plain) // 2048 + 1024
        )
        if code:
            raise Failed(FAILED, "age could not encrypt", why=_message(errors))
        return stored

    def decrypt(self, stored: bytes) -> bytes:
        """The decrypted bytes; refuses those that were encrypted for another identity, or changed."""
        door, hand = os.pipe()
        try:
            # The identity fits into the buffer of the pipe, so this does not block.
            os.write(hand, self._identity + b"\n")
            os.close(hand)
            code, plain, errors = through(["age", "-d", "-i", f"/dev/fd/{door}"], stored, door, expect=len(stored))
        finally:
            os.close(door)
        if not code:
            return plain
        errors = _message(errors)
        if "no identity matched" in errors:
            hint = "the stack's own identity is needed: " + HINT
            raise Failed(VERIFY_FAILED, "this was encrypted for another identity", why=errors, hint=hint)
        raise Failed(VERIFY_FAILED, "this cannot be decrypted", why=errors)

    def mac(self, data: bytes) -> str:
        """The signature of `data`, which only a holder of the identity can make."""
        return hmac.new(self._mac, data, hashlib.sha256).hexdigest()

    def name(self, sha256: str) -> str:
        """The name of a blob on a target, derived from its content with the key, so that it reveals nothing."""
        return hmac.new(self._names, bytes.fromhex(sha256), hashlib.sha256).hexdigest()


def _message(errors: str) -> str:
    """The error of age, without its line about bug reports."""
    lines = [line.removeprefix("age: ").strip() for line in errors.splitlines()]
    return "; ".join(line for line in lines if line and "report" not in line)
