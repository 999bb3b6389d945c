"""Host certificates: what a certificate authority of known_hosts vouches for."""

from __future__ import annotations

import base64
import time
from typing import cast

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
)

from converge.record import dataclass
from converge.ssh.known import HostKey


@dataclass(frozen=True)
class Certificate:
    """A key, and an authority that says whose it is."""

    key: HostKey
    authority: HostKey
    names: tuple[str, ...]
    sound: bool

    @classmethod
    def read(cls, kind: str, blob: bytes) -> Certificate | None:
        """The certificate in these bytes; None where they are of a kind that cannot be checked."""
        try:
            held = cast(SSHCertificate, load_ssh_public_identity(f"{kind} {_base64(blob)}".encode()))
            return cls(_key(held.public_key()), _key(held.signature_key()), _names(held), _sound(held))
        except (ValueError, UnsupportedAlgorithm):
            return None


def _names(held: SSHCertificate) -> tuple[str, ...]:
    return tuple(valid_principal.decode() for valid_principal in held.valid_principals)


def _sound(held: SSHCertificate) -> bool:
    """Whether it is signed by its authority, for hosts, valid today, and without a condition that we do not know."""
    try:
        held.verify_cert_signature()
    except InvalidSignature:
        return False
    today = held.valid_after <= time.time() < held.valid_before
    return today and held.type == SSHCertificateType.HOST and not held.critical_options


def _key(public: object) -> HostKey:
    kind, text = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode().split()[:2]  # type: ignore[attr-defined]
    return HostKey(kind, text)


def _base64(blob: bytes) -> str:
    return base64.b64encode(blob).decode()
