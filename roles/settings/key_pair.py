"""A certificate and its key, as they lie on the operator's machine: whether they fit each other."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


class Unfit(Exception):
    """Why no program could serve this certificate with this key."""


def chain(certificate: str, key: str) -> list[Certificate]:
    """The certificates of the file, that of the key first."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        certificates = x509.load_pem_x509_certificates(certificate.encode())
        public = load_pem_private_key(key.encode(), None).public_key()
    except TypeError:
        raise Unfit("the key has a passphrase, which nobody types on the host: openssl pkey -in KEY -out NEW") from None
    except ValueError:
        raise Unfit("a file is no PEM of what it should be") from None
    if certificates[0].public_key() == public:
        return certificates
    if any(further.public_key() == public for further in certificates[1:]):
        raise Unfit("the certificate of the key must be the first of the file, before those of its authorities")
    raise Unfit("the key is not that of the certificate")


def ended(certificate: Certificate) -> str:
    """The day on which it ended, if it has."""
    end = certificate.not_valid_after_utc
    return f"{end:%Y-%m-%d}" if end < datetime.now(UTC) else ""


def lacking(certificate: Certificate, names: list[str]) -> list[str]:
    """The names for which it is not."""
    from cryptography import x509

    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        known = {
            *alternatives.get_values_for_type(x509.DNSName),
            *map(str, alternatives.get_values_for_type(x509.IPAddress)),
        }
    except x509.ExtensionNotFound:
        known = set()
    return [name for name in names if name not in known and f"*.{name.partition('.')[2]}" not in known]
