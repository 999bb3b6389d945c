"""TLS of the nodes: among themselves, to the edge, and to us. One certificate has all their names."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, ClassVar

from converge.engine.resource import Reading, Resource, Shell, State, Step
from converge.errors import Trouble
from converge.inventory.secret import Secret
from converge.record import dataclass
from converge.resources.compose import FOLDER
from converge.resources.file import Directory, File
from converge.shell import quote, quote_all
from roles.settings import key_pair
from roles.settings.local_file import local_text

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.minio.settings import Minio, Node
    from roles.settings.model import Settings

CERTIFICATES = f"{FOLDER}/minio/certs"
INSIDE = "/certs"


def scheme(settings: Minio) -> str:
    return "https" if settings.tls else "http"


def authority(host: Host[Settings]) -> str:
    """The certificate of the authority that signed the nodes' certificate, as text; empty without TLS."""
    tls = host.settings.minio.tls if host.settings.minio else None
    return local_text(host, "minio.tls.authority", tls.authority) if tls else ""


def files(host: Host[Settings], settings: Minio) -> list[Directory | File]:
    """The files that the nodes read, in folders that MinIO would otherwise create."""
    if settings.tls is None:
        return []
    owner = host.settings.data_user.name
    certificate = local_text(host, "minio.tls.certificate", settings.tls.certificate)
    key = local_text(host, "minio.tls.key", settings.tls.key)
    if faults := list(_faults(certificate, key, authority(host), settings.nodes)):
        raise Trouble(
            "minio.tls does not fit its nodes",
            where=host.name,
            why="; ".join(faults),
            untouched="nothing was changed",
            hint=f"openssl x509 -noout -text -in {quote(settings.tls.certificate)}",
        )
    return [
        Directory(CERTIFICATES, owner=owner, group=owner, mode="0500"),
        Directory(f"{CERTIFICATES}/CAs", owner=owner, group=owner, mode="0500"),
        File(f"{CERTIFICATES}/CAs/authority.crt", authority(host), owner=owner, group=owner, mode="0400"),
        File(f"{CERTIFICATES}/public.crt", certificate, owner=owner, group=owner, mode="0400"),
        File(f"{CERTIFICATES}/private.key", Secret(key), owner=owner, group=owner, mode="0400"),
    ]


def _faults(certificate: str, key: str, authority: str, nodes: Sequence[Node]) -> list[str]:
    """Why the nodes could not use the certificate, or clients would not trust it."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    try:
        chain = key_pair.chain(certificate, key)
        roots = x509.load_pem_x509_certificates(authority.encode())
    except (key_pair.Unfit, ValueError) as error:
        return [str(error)]
    faults = []
    if why := key_pair.untimely(chain[0]):
        faults.append(f"the certificate {why}")
    wanted = [name for node in nodes for name in (node.name, str(ip_address(node.address)))]
    if missing := key_pair.lacking(chain[0], wanted):
        faults.append(f"its subjectAltName lacks {', '.join(missing)}")
    for issuer in roots:
        try:
            chain[-1].verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return faults
    return [*faults, "minio.tls.authority did not sign it"]


@dataclass(frozen=True)
class ServedCertificate(Resource):
    """Each node shows the certificate of the file. MinIO does not notice a file that was renamed into place.

    A silent node is reported elsewhere, and shows the new one when it starts.
    """

    kind: ClassVar[str] = "served-certificate"
    nodes: tuple[tuple[str, str], ...]
    """Names and addresses."""
    certificate: str

    @property
    def name(self) -> str:
        return "minio"

    def desired(self) -> State:
        return {name: _fingerprint(self.certificate) for name, _ in self.nodes}

    @classmethod
    def probe(cls, wanted: Sequence[ServedCertificate]) -> str:
        ask = "curl -q -s -k --noproxy '*' -m 4 -o /dev/null -w '%{certs}\\n'"
        # All at once: nodes that accept connections and stay silent cost these seconds only once. The first of a chain is short
        # enough to be written in one piece.
        each = [
            f"( said=$({ask} {quote(f'https://{address}:9000/minio/health/live')} | sed '/END CERTIFICATE/q'); printf 'NODE %s\\n%s\\n' {quote(name)} \"$said\" ) &"
            for certificate in wanted
            for name, address in certificate.nodes
        ]
        return "\n".join([*each, "wait"])

    @classmethod
    def read(cls, wanted: Sequence[ServedCertificate], answer: str) -> list[Reading]:
        served = {}
        for part in answer.split("NODE ")[1:]:
            name, _, rest = part.partition("\n")
            if pem := _first(rest):
                served[name] = _fingerprint(pem)
        return [{**certificate.desired(), **served} if served else None for certificate in wanted]

    def fix(self, before: State | None) -> list[Step]:
        return [
            Shell(f"docker kill -s HUP -- {quote_all(name for name, _ in self.nodes)} >/dev/null 2>&1 || :; sleep 1")
        ]


_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def _first(text: str) -> str:
    """The first certificate of a text; a server shows its own before those of its authorities."""
    start, end = text.find(_BEGIN), text.find(_END)
    return text[start : end + len(_END)] if 0 <= start < end else ""


def _fingerprint(pem: str) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(_first(pem))).hexdigest()[:16]


def served(settings: Minio, certificate: Sequence[Directory | File]) -> list[ServedCertificate]:
    """The last check: the nodes show the certificate that was written."""
    text = next(
        (
            str(resource.content)
            for resource in certificate
            if resource.name.endswith("/public.crt") and isinstance(resource, File)
        ),
        "",
    )
    return [ServedCertificate(tuple((node.name, node.address) for node in settings.nodes), text)] if text else []
