"""The format of a key of MinIO's encryption, and its fingerprint."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re


def fault(key: str) -> str:
    """What is wrong with a key, in words; empty if MinIO accepts it."""
    name, colon, secret = key.partition(":")
    if not colon or not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", name):
        return "a name, a colon and the key, such as prod-2026:BASE64; `echo NAME:$(openssl rand -base64 32)` makes one"
    try:
        size = len(base64.b64decode(secret, validate=True))
    except binascii.Error:
        return "behind the colon stand 32 random bytes in base64; `openssl rand -base64 32` makes them"
    return "" if size == 32 else f"the key has {size} bytes, and MinIO takes 32; `openssl rand -base64 32` makes them"


def fingerprint(key: str) -> str:
    """A value that can be stored and compared: it differs between keys, and does not reveal the key."""
    name, _, secret = key.partition(":")
    return f"{name} {hashlib.sha256(secret.encode()).hexdigest()[:16]}"
