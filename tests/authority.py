"""A certificate authority for tests: its certificate, and those that it signs, as PEM files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


class Authority:
    """An authority; its own certificate is `authority.pem` in the folder."""

    def __init__(self, folder: Path, days: int = 60) -> None:
        self.folder, self.key = folder, ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority of a test")])
        made = self._builder(self.name, self.key, days).add_extension(x509.BasicConstraints(True, None), True)
        (folder / "authority.pem").write_bytes(made.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))

    def sign(self, name: str, names: list[str], days: int = 60) -> None:
        """Writes NAME.crt and NAME.key, for these names and addresses."""
        key = ec.generate_private_key(ec.SECP256R1())
        known = [
            x509.IPAddress(ip_address(subject)) if subject[0].isdigit() else x509.DNSName(subject) for subject in names
        ]
        made = self._builder(x509.Name([]), key, days).add_extension(x509.SubjectAlternativeName(known), False)
        (self.folder / f"{name}.crt").write_bytes(made.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))
        text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.folder / f"{name}.key").write_bytes(text)

    def _builder(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, days: int = 60) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + timedelta(days=days))
        )
