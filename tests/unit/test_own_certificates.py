"""Certificates of the operator's own: what no program could serve is refused before anything is connected to."""

from __future__ import annotations

import subprocess

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from converge.engine import run as runs
from converge.errors import Trouble
from converge.resources.compose import Project
from converge.resources.fresh import FreshContainer
from roles.edge.role import edge
from tests.authority import Authority

NAME = "storage.example.org"


@pytest.fixture
def folder(tmp_path):
    authority = Authority(tmp_path)
    authority.sign("own", [NAME])
    authority.sign("other", [NAME])
    return tmp_path


@pytest.fixture
def warning(storage_host, folder):
    def make(name="own", row=NAME):
        tls = {"certificate": str(folder / f"{name}.crt"), "key": str(folder / f"{name}.key")}
        host = storage_host(edge={"tls": tls, "routes": [{"port": 443, "host": row, "to": "minio-api"}]})
        wants = [one.resource for one in runs.prepare(host, [edge]).wants]
        warns = next(one.warning for one in wants if isinstance(one, Project))
        # A certificate that is put into the place of another changes no project: it is said of the reload as well.
        (loaded,) = [one for one in wants if isinstance(one, FreshContainer)]
        assert loaded.note({"runs with": "older files"}).partition("; warning: ")[2] == warns and not loaded.note(None)
        return warns

    return make


def _another_key(folder):
    (folder / "own.key").write_text((folder / "other.key").read_text())


def _authority_first(folder):
    (folder / "own.crt").write_text((folder / "authority.pem").read_text() + (folder / "own.crt").read_text())


def _passphrase(folder):
    key = load_pem_private_key((folder / "own.key").read_bytes(), None)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    (folder / "own.key").write_bytes(text)


def _der(folder):
    (folder / "own.crt").write_text("0\x82\x03")


def _rare_curve(folder):
    (folder / "own.key").write_text(
        subprocess.run(
            ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp224k1"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )


def _key_twice(folder):
    (folder / "own.crt").write_text((folder / "own.key").read_text())


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_another_key, "the key is not that of the certificate"),
        (_authority_first, "the certificate of the key must be the first of the file"),
        (_passphrase, "the key has a passphrase"),
        (_der, "no PEM of what it should be"),
        (_key_twice, "no PEM of what it should be"),
        (_rare_curve, "a kind that few programs know"),
    ],
)
def test_what_does_not_fit_is_refused_by_the_files_names(warning, folder, spoil, why):
    spoil(folder)
    with pytest.raises(Trouble, match=why) as refused:
        warning()
    assert "edge.tls cannot be served" in str(refused.value) and str(folder / "own.key") in str(refused.value)


def test_a_certificate_fits_with_its_chain_and_with_windows_line_ends(warning, folder):
    text = (folder / "own.crt").read_text() + (folder / "authority.pem").read_text()
    (folder / "own.crt").write_text(text.replace("\n", "\r\n"), newline="")
    assert warning() == ""


def test_what_clients_will_refuse_is_told_in_the_plan(warning, folder):
    Authority(folder).sign("old", [NAME], days=-1)
    assert "the certificate of edge.tls ended on 20" in warning("old")
    assert "is not for s3.example.com: clients refuse it there" in warning(row="s3.example.com")
    Authority(folder).sign("wild", ["*.example.org"])
    assert warning("wild") == ""
    assert "is not for a.b.example.org" in warning("wild", "a.b.example.org")
    Authority(folder).sign("loud", [NAME.upper()])
    assert warning("loud") == "", "clients compare names without regard to capitals"


def test_traefik_would_show_nothing_at_a_name_that_its_certificate_has_not(storage_host, folder):
    tls = {"certificate": str(folder / "own.crt"), "key": str(folder / "own.key")}

    def with_row(name):
        row = {"port": 443, "host": name, "to": "minio-api", "tls": tls}
        images = {kind: {"reference": f"example.org/{kind}:17"} for kind in ("minio", "traefik", "postgres")}
        return storage_host(edge={"kind": "traefik", "routes": [row]}, images=images)

    assert runs.prepare(with_row(NAME), [edge])
    with pytest.raises(Trouble, match=r"it is not for s3\.example\.org: there Traefik shows none at all") as refused:
        runs.prepare(with_row("s3.example.org"), [edge])
    assert "edge.routes[0].tls cannot be served" in str(refused.value)


def test_a_chain_in_another_order_and_one_that_has_ended_are_told_in_the_plan(warning, folder):
    own, authority = (folder / "own.crt").read_text(), (folder / "authority.pem").read_text()
    (folder / "own.crt").write_text(own + authority + authority)
    assert warning() == "", "who signs itself may stand twice"
    other = (folder / "other.crt").read_text()
    (folder / "own.crt").write_text(own + other + authority)
    assert "followed by the first certificate, which has not signed it: some clients refuse that" in warning()
    Authority(folder, days=-1).sign("late", [NAME])
    (folder / "late.crt").write_text((folder / "late.crt").read_text() + (folder / "authority.pem").read_text())
    assert "CN=an authority of a test in it ended on 20" in warning("late")
