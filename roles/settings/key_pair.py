"""A certificate and its key, as they lie on the operator's machine: whether they fit each other."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.x509 import Certificate


class Unfit(Exception):
    """Why no program could serve this certificate with this key."""


def chain(certificate: str, key: str) -> list[Certificate]:
    """The certificates of the file, that of the key first."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        certificates = x509.load_pem_x509_certificates(certificate.encode())
        public = load_pem_private_key(key.encode(), None).public_key()
        fits = [certificate.public_key() == public for certificate in certificates]
    except TypeError:
        raise Unfit("the key has a passphrase, which nobody types on the host: openssl pkey -in KEY -out NEW") from None
    except ValueError:
        raise Unfit("a file is no PEM of what it should be") from None
    except UnsupportedAlgorithm:
        raise Unfit("a key is of a kind that few programs know: take RSA, or the curve P-256") from None
    if fits[0]:
        return certificates
    if any(fits):
        raise Unfit("the certificate of the key must be the first of the file, before those of its authorities")
    raise Unfit("the key is not that of the certificate")


def untimely(certificate: Certificate) -> str:
    """Why it is not good today; empty if it is."""
    begin, end, now = certificate.not_valid_before_utc, certificate.not_valid_after_utc, datetime.now(UTC)
    return f"ended on {end:%Y-%m-%d}" if end < now else f"is good only from {begin:%Y-%m-%d} on" if begin > now else ""


def broken(certificates: list[Certificate]) -> Iterator[str]:
    """What clients may not like about the chain: each certificate is to be followed by that of who signed it."""
    for mine, its in pairwise(certificates):
        if mine.issuer != its.subject:
            yield f"{_named(mine)} is followed by {_named(its)}, which has not signed it: some clients refuse that"
        if why := untimely(its):
            yield f"{_named(its)} in it {why}: clients refuse it"


def _named(certificate: Certificate) -> str:
    return certificate.subject.rfc4514_string() or "the first certificate"


def lacking(certificate: Certificate, names: list[str]) -> list[str]:
    """The names for which it is not."""
    from cryptography import x509

    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        known = {
            *map(str.lower, alternatives.get_values_for_type(x509.DNSName)),
            *map(str, alternatives.get_values_for_type(x509.IPAddress)),
        }
    except x509.ExtensionNotFound:
        known = set()
    return [name for name in names if name not in known and f"*.{name.partition('.')[2]}" not in known]
