"""The script of a host's own authority: what it says of a certificate, and what it does about that."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from roles.edge.authority import Signer
from tests.unit.conftest import ROOT

ME = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
NAMES = ("one.example.org", "two.example.org")


class Script:
    def __init__(self, folder):
        self.folder, self.file = folder, folder / "certificates"
        text = (ROOT / "files/certificates.sh").read_text()
        self.file.write_text(text.replace("here=/etc/stowage/authority", f"here={folder}/authority"))
        (folder / "authority").mkdir()
        self.leaf = (str(folder), "leaf", ME, *NAMES)

    def run(self, *words):
        return subprocess.run(["sh", self.file, *words], capture_output=True, text=True, check=False)

    def __call__(self, *words):
        done = self.run(*words)
        assert done.returncode == 0 and not done.stderr, done
        return done.stdout.strip()

    def state(self, *names):
        return self("state", *self.leaf[:3], *(names or NAMES))

    def serial(self):
        return x509.load_pem_x509_certificate((self.folder / "leaf.crt").read_bytes()).serial_number


@pytest.fixture
def script(tmp_path):
    return Script(tmp_path)


def test_a_certificate_is_good_for_its_names_alone_and_is_signed_anew_by_the_same_authority(script):
    assert script.state() == "not there"
    script("sign", *script.leaf)
    first, authority = script.serial(), (script.folder / "authority/authority.crt").read_text()
    assert script.state() == "good" and script.state("one.example.org") == "for other names"
    script("sign", *script.leaf)
    assert script.serial() != first and (script.folder / "authority/authority.crt").read_text() == authority


@pytest.mark.parametrize("file", ["leaf.key", "leaf.crt"])
def test_a_file_with_other_rights_is_given_back_and_nothing_is_signed(script, file):
    script("sign", *script.leaf)
    before = script.serial()
    (script.folder / file).chmod(0o644)
    assert script.state() == "of another owner, or with other rights"
    script("sign", *script.leaf)
    assert script.state() == "good" and script.serial() == before


def _verified(script, root):
    done = subprocess.run(
        ["openssl", "verify", "-CAfile", root, script.folder / "leaf.crt"], capture_output=True, check=False
    )
    return done.returncode == 0


def test_a_root_that_was_lost_is_made_anew_with_its_key_so_that_who_trusts_the_old_one_goes_on(script):
    script("sign", *script.leaf)
    root, old = script.folder / "authority/authority.crt", script.folder / "old.crt"
    old.write_bytes(root.read_bytes())
    for lose in (root.unlink, lambda: root.write_text("-----BEGIN CERTIFICATE-----\nMIIB")):
        lose()
        assert script("root") == "authority.crt is gone or damaged" and script.state() != "good"
        script("sign", *script.leaf)
        assert script("root") == script.state() == "good"
        assert _verified(script, root) and _verified(script, old) and root.read_bytes() != old.read_bytes()


def test_a_key_that_was_lost_is_told_before_a_certificate_ends_and_nothing_is_done_behind_anybodys_back(script):
    script("sign", *script.leaf)
    key, before = script.folder / "authority/authority.key", script.serial()
    other = subprocess.run(
        ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        capture_output=True,
        check=True,
    ).stdout
    for lose, why in (
        (lambda: key.write_bytes(other), "authority.key is not the key of authority.crt"),
        (lambda: key.write_text(""), "authority.key is gone or damaged"),
        (key.unlink, "authority.key is gone or damaged"),
    ):
        lose()
        assert script("root") == why and script.state() == "good", "it is served on"
        (reading,) = Signer.read([Signer()], f"{why}\n")
        refused = Signer().refusal(reading)
        assert refused and "cannot be renewed" in refused.why and "from a backup" in refused.hint
        done = script.run("sign", str(script.folder), "leaf", ME, "three.example.org")
        assert done.returncode == 1 and "Bring both files back from a backup; or remove both" in done.stderr
        assert script.serial() == before
    (script.folder / "authority/authority.crt").unlink()
    assert script("root") == "not there" and Signer.read([Signer()], "not there\n") == [None]
    assert script.state().startswith("signed by an authority that is gone: all clients must trust another one")
    script("sign", *script.leaf)
    assert script("root") == script.state() == "good"


def test_two_at_once_leave_a_key_that_is_that_of_its_certificate_and_no_other_key(script):
    script("sign", *script.leaf)
    (script.folder / "authority/.new-abcdef").mkdir()
    (script.folder / "authority/.new-abcdef/key").write_text("of a run that was cut")
    (script.folder / "authority/table").write_text(f"{script.folder} leaf {ME} done {' '.join(NAMES)}\n" * 2)
    (script.folder / "authority/done").write_text("cat >/dev/null\n")
    both = [subprocess.Popen(["sh", script.file, "renew", "all"], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [each.communicate()[0].count("signed anew") for each in both] == [2] * 3
    assert script.state() == "good"
    left = sorted(path.name for path in (script.folder / "authority").iterdir())
    assert left == ["authority.crt", "authority.key", "done", "lock", "table"]


def test_an_authority_of_the_future_is_told_as_a_wrong_clock(script):
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "an authority of a test")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).add_extension(x509.BasicConstraints(True, None), True)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    made = builder.not_valid_before(now + timedelta(days=400)).not_valid_after(now + timedelta(days=800))
    folder = script.folder / "authority"
    (folder / "authority.crt").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    (folder / "authority.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    script("sign", *script.leaf)
    assert script.state().startswith("signed by an authority that is valid from ")
    assert script.state().endswith("the clock of this host is wrong, or was")
