"""What is taken for a key of MinIO's encryption, and what may be written down of one."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re


def fault(key: str) -> str:
    """What is wrong with a key, in words; nothing where MinIO takes it."""
    name, colon, secret = key.partition(":")
    if not colon or not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", name):
        return "a name, a colon and the key, such as prod-2026:BASE64; `echo NAME:$(openssl rand -base64 32)` makes one"
    try:
        size = len(base64.b64decode(secret, validate=True))
    except binascii.Error:
        return "behind the colon stand 32 random bytes in base64; `openssl rand -base64 32` makes them"
    return "" if size == 32 else f"the key has {size} bytes, and MinIO takes 32; `openssl rand -base64 32` makes them"


def fingerprint(key: str) -> str:
    """What may be written down and compared: it tells keys apart, and nothing of the key."""
    name, _, secret = key.partition(":")
    return f"{name} {hashlib.sha256(secret.encode()).hexdigest()[:16]}"
