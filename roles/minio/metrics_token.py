"""The token for the metrics of MinIO, made from the secret key of the user that may read them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

from converge.inventory.secret import Secret
from roles.minio.settings import METRICS


def token(secret: Secret) -> Secret:
    """The bearer token for MinIO, a JWT. It has no expiry and no date: the same secret gives the same token."""
    claims = {"iss": "prometheus", "sub": METRICS}
    text = b".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "HS512", "typ": "JWT"}, claims))
    signature = hmac.new(secret.reveal().encode(), text, hashlib.sha512).digest()
    return Secret(b".".join((text, _encoded(signature))).decode())


def is_of_another(text: Secret, secret: Secret) -> bool:
    """Whether a text is a token for the metrics that another secret has signed; MinIO refuses it. Who made it does not matter."""
    try:
        signed, signature = text.reveal().encode().rsplit(b".", 1)
        claims = json.loads(base64.urlsafe_b64decode(signed.split(b".")[1] + b"=="))
    except (ValueError, IndexError):
        return False
    if not isinstance(claims, dict) or claims.get("sub") != METRICS:
        return False
    right = _encoded(hmac.new(secret.reveal().encode(), signed, hashlib.sha512).digest())
    return not hmac.compare_digest(right, signature)


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
