"""MinIO's answers to a request that was already carried out, to a refused one, and just after its start."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
import urllib3
from minio.error import InvalidResponseError, MinioAdminException, S3Error

from converge.errors import Trouble
from converge.inventory.secret import Secret
from roles.minio import account_kinds, bucket_kinds, proof
from roles.minio import api as minio_api
from roles.minio.admin import admin
from roles.minio.api import Api, code_of
from roles.minio.calls import doing, reading
from roles.minio.settings import Bucket
from tests.unit.conftest import ROOT

AGAIN = "Your previous request to create the named bucket succeeded and you already own it."


class Client:
    """A node that carries out some calls and answers others with an error; it records their names."""

    def __init__(self, **errors: Exception) -> None:
        self.errors, self.called = errors, list[str]()

    def __getattr__(self, name: str) -> Any:
        def call(*_: Any, **__: Any) -> None:
            self.called.append(name)
            if name in self.errors:
                raise self.errors[name]

        return call


def s3(code: str) -> S3Error:
    return S3Error(SimpleNamespace(), code, AGAIN, "", "", "")  # type: ignore[arg-type]


def refused(code: str, message: str) -> MinioAdminException:
    return MinioAdminException("400", json.dumps({"Code": code, "Message": message}))


def test_a_bucket_that_is_there_by_now_gets_the_rest_of_its_settings() -> None:
    client = Client(make_bucket=s3("BucketAlreadyOwnedByYou"))
    wanted = bucket_kinds.Bucket(SimpleNamespace(), Bucket(name="models", versioning=True))
    bucket_kinds._make_bucket(wanted, None, client)
    assert client.called == ["make_bucket", "set_bucket_versioning"]


def test_any_other_word_of_the_api_is_the_error() -> None:
    wanted = bucket_kinds.Bucket(SimpleNamespace(), Bucket(name="models", versioning=True))
    with pytest.raises(S3Error):
        bucket_kinds._make_bucket(wanted, None, Client(make_bucket=s3("BucketAlreadyExists")))


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (refused("AccessDenied", "the service account access key already taken"), ["add", "update"]),
        (refused("AccessDenied", "the service account access key is taken by another user"), ["add"]),
    ],
)
def test_a_key_that_is_there_by_now_gets_its_secret_unless_it_is_anothers(error, calls, monkeypatch) -> None:
    client = Client(add_service_account=error)
    monkeypatch.setattr(account_kinds, "administrator", lambda client: client)
    account = SimpleNamespace(
        name="app", settings=SimpleNamespace(secret_key=Secret("word"), statements=[], expires=None)
    )
    if len(calls) == 1:
        with pytest.raises(MinioAdminException):
            account_kinds._make_account(account, client)
    else:
        account_kinds._make_account(account, client)
    assert client.called == [f"{call}_service_account" for call in calls]


def test_what_the_admin_api_refuses_is_told_in_its_words_and_is_no_fault_of_ours() -> None:
    def act(_: Any) -> None:
        raise refused("XMinioAdminInvalidSecretKey", "The secret key is invalid.")

    (step,) = doing(SimpleNamespace(any=lambda link, act: act(None)), act)
    with pytest.raises(Trouble, match="MinIO refused") as caught:
        step.run(LINK)
    assert caught.value.why == "XMinioAdminInvalidSecretKey: The secret key is invalid."


@pytest.fixture
def api(monkeypatch) -> Api:
    """A cluster without a network; waits end at once."""
    monkeypatch.setattr(minio_api, "living", lambda link, nodes: nodes[0])
    monkeypatch.setattr(minio_api.time, "sleep", lambda seconds: None)
    return Api((("127.0.0.1", 9000),), Secret("user"), Secret("word"))


class Line:
    """A connection that transfers nothing."""

    target = SimpleNamespace(name="lab")

    def alive(self) -> bool:
        return True

    def shell(self, script: str) -> Any:
        return copies(4, 4)


LINK: Any = Line()


@pytest.mark.parametrize("body", [None, "", "<html>", "[1]"])
def test_an_answer_that_is_not_minios_is_told_as_such(api, body) -> None:
    """Before the first deploy another server may have the address of a node."""

    def read(_: Any) -> list[Any]:
        raise InvalidResponseError(404, None, body)

    with pytest.raises(Trouble, match="MinIO does not tell") as caught:
        reading(api, LINK, read, 1)
    assert "non-XML response from server; Response code: 404" in caught.value.why


@pytest.mark.parametrize(
    "error",
    [
        s3("XMinioServerNotInitialized"),
        s3("XMinioBucketMetadataNotInitialized"),
        refused("XMinioIAMNotInitialized", "IAM sub-system not initialized yet, please try again."),
    ],
)
def test_a_node_that_asks_to_try_again_while_it_starts_is_asked_again(api, error) -> None:
    answers = iter([error, error, error, error])

    def read(_: Any) -> list[Any]:
        for answer in answers:
            raise answer
        return [{"versioning": "on"}]

    assert reading(api, LINK, read, 1) == [{"versioning": "on"}]


def test_a_node_that_never_gets_ready_is_told_in_its_words(api, monkeypatch) -> None:
    hours = iter(range(0, 10**6, 10))
    monkeypatch.setattr(minio_api.time, "monotonic", lambda: float(next(hours)))

    def read(_: Any) -> list[Any]:
        raise s3("XMinioServerNotInitialized")

    with pytest.raises(Trouble, match="MinIO does not tell") as caught:
        reading(api, LINK, read, 1)
    assert caught.value.why.startswith("XMinioServerNotInitialized: ")


def test_any_other_word_is_told_at_once(api) -> None:
    asked = []

    def read(client: Any) -> list[Any]:
        asked.append(client)
        raise refused("AccessDenied", "Access Denied.")

    with pytest.raises(Trouble) as caught:
        reading(api, LINK, read, 1)
    assert caught.value.why == "AccessDenied: Access Denied."
    assert len(asked) == 1


def test_what_the_admin_api_answers_is_an_error_of_minio_with_its_code(api, monkeypatch) -> None:
    body = json.dumps({"Code": "XMinioServerNotInitialized", "Message": "Server not initialized yet"}).encode()
    pool = urllib3.PoolManager()
    monkeypatch.setattr(pool, "request", lambda *_, **__: SimpleNamespace(status=503, data=body))
    monkeypatch.setattr(minio_api, "pool", lambda *_: pool)
    with pytest.raises(MinioAdminException) as caught:
        admin(api.client(LINK, api.nodes[0]), "GET", "export-iam")
    assert code_of(caught.value) == "XMinioServerNotInitialized"


def test_a_connection_that_minio_gives_up_after_an_error_is_not_used_again(api) -> None:
    """After a broken archive more bytes follow than its error announced: MinIO closes the connection, at once or soon."""
    answer = b"HTTP/1.1 %d -\r\nContent-Length: 2\r\n\r\n{}"

    def node(listening: socket.socket) -> None:
        for status in (500, 200):
            there, _ = listening.accept()
            there.recv(65536)
            there.sendall(answer % status)
            there.recv(65536)  # the next request of this connection, or its end
            there.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        Thread(target=node, args=(listening,), daemon=True).start()
        link: Any = SimpleNamespace(tunnel=lambda host, port: socket.create_connection((host, port)))
        client = api.client(link, listening.getsockname(), again=0)
        with pytest.raises(MinioAdminException):
            admin(client, "GET", "export-iam")
        assert admin(client, "GET", "list-users") == b"{}"


def copies(*counts: int) -> Any:
    """The host's answer: the copies of each node's object."""
    lines = iter([*(f"{count}\n".encode() for count in counts), b""])
    return SimpleNamespace(close_stdin=lambda: None, readline=lambda _: next(lines))


class Node:
    """A node of a cluster that holds buckets in memory; some of its calls time out the first time."""

    def __init__(self, slow: list[str]) -> None:
        self.slow, self.buckets = slow, dict[str, dict[str, bytes]]()

    def _called(self, name: str) -> None:
        if name in self.slow:
            self.slow.remove(name)
            raise urllib3.exceptions.ReadTimeoutError(None, "/", "Read timed out.")  # type: ignore[arg-type]

    def bucket_exists(self, bucket: str) -> bool:
        return bucket in self.buckets

    def make_bucket(self, bucket: str) -> None:
        self._called("make_bucket")
        self.buckets[bucket] = {}

    def put_object(self, bucket: str, key: str, data: Any, size: int) -> None:
        self._called("put_object")
        self.buckets[bucket][key] = data.read(size)

    def get_object(self, bucket: str, key: str) -> Any:
        self._called("get_object")
        return SimpleNamespace(read=lambda: self.buckets[bucket][key], release_conn=lambda: None)

    def remove_object(self, bucket: str, key: str) -> None:
        self._called("remove_object")
        self.buckets[bucket].pop(key, None)

    def remove_bucket(self, bucket: str) -> None:
        self._called("remove_bucket")
        del self.buckets[bucket]


@pytest.mark.parametrize(
    "slow",
    [
        [],
        ["make_bucket"],
        ["put_object"],
        ["get_object", "remove_object"],
        ["remove_object"],
        ["remove_bucket", "remove_bucket", "put_object"],
    ],
)
def test_a_proof_of_the_data_path_leaves_nothing_whatever_times_out(api, monkeypatch, slow) -> None:
    node = Node(slow)
    monkeypatch.setattr(proof, "connect_once", lambda link, node: None)
    monkeypatch.setattr(Api, "client", lambda *_, **__: node)
    proof.prove_data_path(api, LINK, ["/mnt/drive1/drive1"])
    assert node.buckets == {}
    assert slow == []


@pytest.mark.parametrize(
    ("reached", "passes"),
    [
        ([(4, 4)], True),
        ([(3, 3)], True),  # one drive is dead, for both
        ([(2, 4), (3, 4), (4, 4)], True),
        ([(3, 4)] * 40, False),
    ],
)
def test_a_node_that_reaches_fewer_drives_than_another_is_waited_for(api, monkeypatch, reached, passes) -> None:
    answers, hours = iter(reached), iter(range(0, 10**6, 10))
    link = SimpleNamespace(alive=lambda: True, target=LINK.target, shell=lambda script: copies(*next(answers)))
    monkeypatch.setattr(proof, "connect_once", lambda link, node: None)
    monkeypatch.setattr(minio_api.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(minio_api.time, "monotonic", lambda: float(next(hours)))
    node = Node([])
    monkeypatch.setattr(Api, "client", lambda *_, **__: node)
    if passes:
        proof.prove_data_path(api, link, ["/mnt/drive1/drive1"])
        assert next(answers, None) is None
    else:
        with pytest.raises(Trouble, match="data does not pass through all nodes") as caught:
            proof.prove_data_path(api, link, ["/mnt/drive1/drive1"])
        assert "the nodes do not see the same drives" in caught.value.why
        assert "127.0.0.1 3" in caught.value.why
    assert node.buckets == {}


class Peer:
    """A node with settings in memory, which sends each change to the others; some miss the first ones."""

    def __init__(self, address: str, peers: dict[str, Peer]) -> None:
        self.on, self.deaf, self.dead, self.starts, self.peers = False, 0, False, 0, peers
        self._base_url = SimpleNamespace(host=f"{address}:9000")
        peers[address] = self

    def list_buckets(self) -> list[Any]:
        return [SimpleNamespace(name="models")]

    def set_bucket_versioning(self, bucket: str, config: Any) -> None:
        for peer in self.peers.values():
            peer.deaf -= 1
            if peer is self or peer.deaf < 0:
                peer.on = config.status == "Enabled"

    def settings(self) -> dict[str, bytes]:
        if self.starts:
            self.starts -= 1
            raise s3("XMinioBucketMetadataNotInitialized")
        if self.dead:
            raise urllib3.exceptions.ReadTimeoutError(None, "/", "Read timed out.")  # type: ignore[arg-type]
        return {"models/versioning.xml": b"<V><Status>Enabled</Status></V>"} if self.on else {}


@pytest.fixture
def peers(api, monkeypatch) -> dict[str, Peer]:
    peers: dict[str, Peer] = {}
    for address in ("10.0.0.1", "10.0.0.2", "10.0.0.3"):
        Peer(address, peers)
    monkeypatch.setattr(Api, "client", lambda api, link, node, *_, **__: peers[node[0]])
    monkeypatch.setattr(bucket_kinds, "_settings", lambda peer: peer.settings())
    return peers


def versioned(peers: dict[str, Peer]) -> bucket_kinds.Bucket:
    api = Api(tuple((address, 9000) for address in peers), Secret("user"), Secret("word"))
    return bucket_kinds.Bucket(api, Bucket(name="models", versioning=True))


def test_a_node_that_goes_by_other_settings_is_told_of_and_one_that_is_silent_is_not(peers) -> None:
    wanted = versioned(peers)
    peers["10.0.0.1"].on = peers["10.0.0.2"].on = True
    peers["10.0.0.2"].dead = True
    peers["10.0.0.3"].starts = 2
    (state,) = wanted.ask(LINK, [wanted])
    assert (wanted.desired() | {"versioning": "on (at 10.0.0.3: off)"}).items() <= state.items()


def test_a_change_is_made_again_until_every_node_has_heard_of_it(peers) -> None:
    wanted = versioned(peers)
    peers["10.0.0.3"].deaf = 2
    (step,) = wanted.fix(wanted.ask(LINK, [wanted])[0])
    step.run(LINK)
    assert [peer.on for peer in peers.values()] == [True, True, True]


def test_a_node_that_hears_of_no_change_does_not_hold_the_deploy_for_ever(peers, monkeypatch) -> None:
    wanted = versioned(peers)
    peers["10.0.0.3"].deaf = 10**9
    seconds = iter(range(10**6))
    monkeypatch.setattr(bucket_kinds.time, "monotonic", lambda: float(next(seconds)))
    (step,) = wanted.fix(wanted.ask(LINK, [wanted])[0])
    step.run(LINK)
    (state,) = wanted.ask(LINK, [wanted])
    assert state["versioning"] == "on (at 10.0.0.3: off)"


def test_what_minio_py_is_loaded_without_is_its_own_once_it_is_used():
    script = """
import importlib, sys
from roles.minio.api import NOT_READ_WITH, load_minio_py
load_minio_py()
parts = [one.rpartition(".")[::2] for one in NOT_READ_WITH]
assert not {module for module, _ in parts} & sys.modules.keys()
for module, name in parts:
    package = sys.modules["minio" if name == "MinioAdmin" else "minio.api"]
    assert vars(package)[name]._loaded() is getattr(importlib.import_module(module), name), name
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
