"""TLS of MinIO's nodes: which certificates fit, which one is served, and that no other is accepted."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import urllib3

from converge.errors import Trouble
from converge.inventory.secret import Secret
from roles.backup import configuration as backup
from roles.backup.settings import StackTarget
from roles.edge import nginx
from roles.minio import nodes, role, tls
from roles.minio.tls import ServedCertificate
from tests.authority import Authority

NAMES = ["minio1", "minio2", "minio3", "minio4", *(f"172.30.99.1{at}" for at in range(1, 5))]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path)
    made.sign("minio", NAMES)
    return made


@pytest.fixture
def secured(storage_host, tmp_path: Path, authority: Authority) -> Any:
    """A host whose nodes speak TLS."""
    given = {"certificate": "minio.crt", "key": "minio.key", "authority": "authority.pem"}
    return storage_host(minio__tls={name: str(tmp_path / file) for name, file in given.items()})


def test_all_nodes_get_the_certificate_and_speak_https_to_each_other(secured) -> None:
    service = role.service(secured, secured.settings.minio.nodes[0])
    assert "https://minio{1...4}:9000/data" in service["command"]
    assert service["command"][service["command"].index("--certs-dir") + 1] == "/certs"
    assert any("target: /certs" in str(volume) or "/certs" in str(volume) for volume in service["volumes"])
    paths = [file.path for file in tls.files(secured, secured.settings.minio)]
    assert [path.rpartition("certs/")[2] for path in paths[2:]] == ["CAs/authority.crt", "public.crt", "private.key"]


def test_a_new_certificate_restarts_nobody_and_a_new_authority_does(secured, authority: Authority, tmp_path) -> None:
    def labels() -> Any:
        chain = [resource for chain in role.minio.wants(secured) for resource in chain]
        return next(resource for resource in chain if resource.kind == "project").also_hashed

    before = labels()
    authority.sign("minio", NAMES)
    assert labels() == before
    Authority(tmp_path).sign("minio", NAMES)
    assert labels() != before


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda made: made.sign("minio", NAMES[:-1]), "subjectAltName lacks 172.30.99.14"),
        (lambda made: made.sign("minio", NAMES[4:]), "subjectAltName lacks minio1, minio2"),
        (lambda made: made.sign("minio", NAMES, days=-1), "the certificate ended on"),
        (lambda made: Authority(made.folder), "did not sign it"),
        (lambda made: (made.folder / "minio.key").write_bytes(_other_key(made)), "the key is not that of"),
        (lambda made: (made.folder / "minio.key").write_text("nonsense"), "no PEM of what it should be"),
    ],
)
def test_a_certificate_with_which_nodes_would_not_find_each_other_is_refused(secured, authority, spoil, why) -> None:
    spoil(authority)
    with pytest.raises(Trouble, match="does not fit") as caught:
        tls.files(secured, secured.settings.minio)
    assert why in caught.value.why and caught.value.untouched and "openssl x509" in caught.value.hint


def _other_key(made: Authority) -> bytes:
    made.sign("other", ["x"])
    return (made.folder / "other.key").read_bytes()


def test_an_old_certificate_on_the_wire_is_seen_and_a_silent_node_is_no_difference(authority, tmp_path) -> None:
    old = (tmp_path / "minio.crt").read_text()
    authority.sign("minio", NAMES)
    wanted = ServedCertificate(
        (("minio1", "172.30.99.11"), ("minio2", "172.30.99.12")), (tmp_path / "minio.crt").read_text()
    )
    shown = f"NODE minio1\nCert:{old}\nCert:{(tmp_path / 'authority.pem').read_text()}\nNODE minio2\n"
    (state,) = ServedCertificate.read([wanted], shown)
    assert state["minio2"] == wanted.desired()["minio2"] and state["minio1"] != wanted.desired()["minio1"]
    assert "kill -s HUP -- minio1 minio2" in wanted.fix(state)[0].script
    assert ServedCertificate.read([wanted], "NODE minio1\n\nNODE minio2\n") == [None]


@pytest.fixture
def server(authority: Authority, tmp_path: Path) -> Iterator[int]:
    """A TLS server with the nodes' certificate that answers each request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.sign("here", ["127.0.0.1"])
    context.load_cert_chain(tmp_path / "here.crt", tmp_path / "here.key")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    raw, _ = listening.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(raw, server_side=True) as line:
                        line.recv(65536)
                        line.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 300_000)
                except OSError:
                    continue

        Thread(target=answer, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def asked(port: int, authority: str) -> Any:
    link: Any = SimpleNamespace(tunnel=lambda host, port: socket.create_connection((host, port)))
    return nodes.pool(link, 5, 0, authority).request("GET", f"http://127.0.0.1:{port}/")


def test_an_answer_comes_whole_through_tls_in_a_channel(server: int, tmp_path: Path) -> None:
    assert len(asked(server, (tmp_path / "authority.pem").read_text()).data) == 300_000


def test_who_shows_the_certificate_of_another_authority_is_told_nothing(server: int, tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    Authority(tmp_path / "others")
    with pytest.raises(urllib3.exceptions.MaxRetryError, match=r"no TLS with .* certificate verify failed"):
        asked(server, (tmp_path / "others/authority.pem").read_text())


def test_the_backups_reach_the_stacks_own_bucket_over_tls_and_believe_this_authority(secured) -> None:
    keys = {"writer": Secret("a-password-of-it"), "pruner": Secret("a-password-of-it")}
    target = backup._target(secured, StackTarget(name="own", kind="stack", **keys))
    assert target["endpoints"][0] == "https://172.30.99.11:9000"
    assert target["ca_file"] == backup.STACK_AUTHORITY


def test_nginx_verifies_the_nodes_and_its_helper_asks_them_over_tls(secured) -> None:
    text = nginx.config(secured, secured.settings.edge)
    assert "proxy_pass https://api;" in text and "http://api" not in text and "http://console" not in text
    assert "proxy_ssl_verify on;" in text and "proxy_ssl_name minio1;" in text
