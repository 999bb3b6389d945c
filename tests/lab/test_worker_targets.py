"""Real targets: a MinIO, an sshd, another filesystem, and connections that break."""

from __future__ import annotations

import getpass
import http.client
import os
import platform
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from lab import images, programs
from tests.lab.ports import free_port, wait_for
from tests.lab.relay import Relay
from worker import sets
from worker.contract import FAILED, REFUSED
from worker.errors import Failed
from worker.keys import Keys
from worker.manifest import Manifest
from worker.parts import PartReader, PartWriter
from worker.targets import LARGEST, Exists, Missing, PathTarget, Probe, Target
from worker.targets.s3 import S3Target
from worker.targets.sftp import SftpTarget

ACCESS, SECRET = "SENTINEL-access", "SENTINEL-secret-key"
NOW = datetime(2026, 11, 21, 9, 0, 0, tzinfo=UTC)


class Minio:
    """A server of one drive, which may hold versions, locks and lifecycle rules."""

    def __init__(self, folder: Path) -> None:
        architecture = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
        self.port = free_port()
        self.process = subprocess.Popen(
            [
                programs.binary(images.MINIO, architecture),
                "server",
                "--address",
                f"127.0.0.1:{self.port}",
                folder / "data",
            ],
            env={**os.environ, "MINIO_ROOT_USER": ACCESS, "MINIO_ROOT_PASSWORD": SECRET, "MINIO_BROWSER": "off"},
            stdout=(folder / "log").open("w"),
            stderr=subprocess.STDOUT,
        )
        wait_for(self.port)
        self.client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port}",
            aws_access_key_id=ACCESS,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )

    def bucket(self, name: str, **more: Any) -> str:
        for _ in range(600):
            with suppress(self.client.exceptions.ClientError):
                self.client.create_bucket(Bucket=name, **more)
                return name
            time.sleep(0.1)
        pytest.fail("MinIO makes no bucket")

    def target(self, bucket: str, *ports: int, **more: Any) -> S3Target:
        endpoints = [f"http://127.0.0.1:{port}" for port in ports or (self.port,)]
        settings = {"prefix": "prod", "access_key": ACCESS, "secret_key": SECRET, **more}
        return S3Target("away", endpoints, bucket, **settings)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Proxy:
    """An HTTP proxy before MinIO; each request gets the next of `faults`, until they are used up."""

    def __init__(self, port: int) -> None:
        self.faults: list[str] = []
        self.always, self.seen = "", 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with suppress(ConnectionError, TimeoutError):
                    super().handle_one_request()

            def log_message(self, *_: object) -> None:
                pass

            def answer(self) -> None:
                proxy.meet(self, port)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = answer

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def meet(self, request: BaseHTTPRequestHandler, port: int) -> None:
        self.seen += 1
        fault = self.always or (self.faults.pop(0) if self.faults else "")
        request.close_connection = True
        if fault == "reset":
            return self.reset(request)
        if fault == "503":
            body = b"<Error><Code>SlowDown</Code><Message>reduce your rate</Message></Error>"
            return self.say(request, 503, [("Content-Type", "application/xml")], body, len(body))
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        there = http.client.HTTPConnection("127.0.0.1", port)
        headers = {key: value for key, value in request.headers.items() if key.lower() != "expect"}
        there.request(request.command, request.path, body, headers)
        answer = there.getresponse()
        data = answer.read()
        there.close()
        if fault == "slow":
            time.sleep(1.5)
        if fault == "lost":
            return self.reset(request)
        size = int(answer.headers.get("Content-Length") or len(data))
        shown = data[: len(data) // 2] if fault == "cut" else data
        return self.say(request, answer.status, answer.getheaders(), shown, size)

    def say(
        self, request: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], body: bytes, size: int
    ) -> None:
        request.send_response_only(status)
        for key, value in headers:
            if key.lower() not in ("content-length", "transfer-encoding", "connection"):
                request.send_header(key, value)
        request.send_header("Content-Length", str(size))
        request.send_header("Connection", "close")
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    def reset(self, request: BaseHTTPRequestHandler) -> None:
        request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.connection.close()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Sshd:
    """A private sshd with SFTP, and the settings of a client for it."""

    def __init__(self, folder: Path, subsystem: str = "internal-sftp") -> None:
        self.folder, self.user, self.port = folder, getpass.getuser(), free_port()
        self.key, host_key = self.keygen("key"), self.keygen("host_key")
        self.keygen("other_key", "ecdsa")
        self.host_key = f"backup.example {(folder / 'host_key.pub').read_text()}"
        (folder / "authorized").write_text((folder / "key.pub").read_text())
        (folder / "config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {folder}/other_key\nHostKey {folder}/host_key\n"
            f"PidFile none\nStrictModes no\nAuthorizedKeysFile {folder}/authorized\nPermitRootLogin yes\n"
            f"PasswordAuthentication no\nMaxStartups 100\nSubsystem sftp {subsystem}\n"
        )
        assert host_key
        if not os.getuid():
            Path("/run/sshd").mkdir(exist_ok=True)
        (folder / "files").mkdir()
        command = ["/usr/sbin/sshd", "-D", "-e", "-f", folder / "config"]
        self.process = subprocess.Popen(command, stderr=(folder / "log").open("w"))
        wait_for(self.port)

    def keygen(self, name: str, kind: str = "ed25519") -> str:
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", self.folder / name], check=True)
        return (self.folder / name).read_text()

    def target(self, port: int = 0, **more: Any) -> SftpTarget:
        settings = {"key": self.key, "host_key": self.host_key, "path": str(self.folder / "files"), **more}
        return SftpTarget("box", "127.0.0.1", port or self.port, self.user, **settings)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    server = Minio(tmp_path_factory.mktemp("minio"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def bucket(minio: Minio) -> str:
    return minio.bucket("backups")


@pytest.fixture
def proxy(minio: Minio) -> Iterator[Proxy]:
    proxy = Proxy(minio.port)
    yield proxy
    proxy.stop()


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture
def relay(sshd: Sshd) -> Iterator[Relay]:
    relay = Relay(sshd.port)
    yield relay
    relay.close()


@pytest.fixture
def drive() -> Iterator[Path]:
    """A folder on another filesystem than /."""
    folder = Path(f"/dev/shm/stowage-test-{os.getpid()}")
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def keys() -> Keys:
    return Keys(subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout)


@pytest.fixture(params=["s3", "sftp", "path"])
def target(
    request: pytest.FixtureRequest, minio: Minio, bucket: str, sshd: Sshd, drive: Path, tmp_path: Path
) -> Target:
    """One target of each kind, each with a separate place."""
    if request.param == "s3":
        return minio.target(bucket, prefix=f"test/{tmp_path.name}")
    if request.param == "sftp":
        return sshd.target(path=str(tmp_path))
    return PathTarget("drive", str(drive))


def test_every_kind_keeps_the_same_promises(target: Target) -> None:
    for data in (b"", b"one", os.urandom(3_000_000)):
        target.put("lab/sets/x/pg/app.00000", data)
        assert target.get("lab/sets/x/pg/app.00000") == data
        assert target.stat("lab/sets/x/pg/app.00000") == len(data)
    target.put("lab/sets/x/manifest.json", b"one", if_absent=True)
    with pytest.raises(Exists):
        target.put("lab/sets/x/manifest.json", b"two", if_absent=True)
    assert target.get("lab/sets/x/manifest.json") == b"one"
    target.put("lab/sets-b", b"beside")
    listed = {entry.key: entry for entry in target.list("lab/sets/")}
    assert sorted(listed) == ["lab/sets/x/manifest.json", "lab/sets/x/pg/app.00000"]
    assert listed["lab/sets/x/manifest.json"].size == 3
    assert abs(listed["lab/sets/x/manifest.json"].modified - datetime.now(UTC)) < timedelta(minutes=1)
    assert len(list(target.list(""))) == 3 and list(target.list("nothing/")) == []
    target.delete("lab/sets/x/manifest.json")
    target.delete("lab/sets/x/manifest.json")
    assert target.stat("lab/sets/x/manifest.json") is None
    with pytest.raises(Missing):
        target.get("lab/sets/x/manifest.json")
    assert target.probe() == Probe(conditional=True, deletes=True)
    target.check_rules()
    with pytest.raises(Failed, match="too large"):
        target.put("large", bytes(LARGEST + 1))
    assert len(list(target.list(""))) == 2


def test_of_many_writers_of_one_key_exactly_one_is_first(target: Target) -> None:
    def put(number: int) -> int | None:
        try:
            target.put("a/b", b"%d" % number, if_absent=True)
        except Exists:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        first = [result for result in pool.map(put, range(8)) if result is not None]
    assert len(first) == 1 and target.get("a/b") == b"%d" % first[0]
    assert [entry.key for entry in target.list("")] == ["a/b"]


def test_a_listing_of_more_than_one_page_is_whole(minio: Minio, bucket: str) -> None:
    target = minio.target(bucket, prefix="pages")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: target.put(f"a/{n:05d}", b""), range(1100)))
    assert [entry.key for entry in target.list("a/")] == [f"a/{n:05d}" for n in range(1100)]


def test_a_dead_node_costs_one_knock_and_the_next_one_serves(minio: Minio, bucket: str) -> None:
    with socket.socket() as deaf:
        # Its queue is full, so that a connection waits, as for a machine that is off.
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        callers = [socket.socket() for _ in range(4)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(deaf.getsockname())
        target = minio.target(bucket, free_port(), deaf.getsockname()[1], minio.port, prefix="dead")
        began = time.monotonic()
        target.put("a", b"x")
        first, began = time.monotonic() - began, time.monotonic()
        for _ in range(20):
            assert target.get("a") == b"x"
        assert first < 8 and time.monotonic() - began < 15
        for caller in callers:
            caller.close()


def test_a_node_that_dies_between_two_requests_is_left_for_the_next(minio: Minio, bucket: str, proxy: Proxy) -> None:
    target = minio.target(bucket, proxy.port, minio.port, prefix="dies")
    target.put("a", b"x")
    seen = proxy.seen
    assert seen
    proxy.always = "reset"
    target.put("a", b"y")
    assert proxy.seen == seen + 1 and target.get("a") == b"y"


@pytest.mark.parametrize("fault", ["reset", "503", "lost", "slow", "cut"])
def test_one_bad_answer_is_asked_again(minio: Minio, bucket: str, proxy: Proxy, fault: str) -> None:
    target, data = minio.target(bucket, proxy.port, prefix=f"fault-{fault}"), os.urandom(300_000)
    calls: list[Callable[[], object]] = [
        lambda: target.put("a", data),
        lambda: target.get("a") == data,
        lambda: target.stat("a") == len(data),
        lambda: [entry.key for entry in target.list("")] == ["a"],
        lambda: target.delete("a"),
    ]
    assert list(target.list("")) == []  # a first listing asks whether the cluster can be read
    for call in calls:
        proxy.faults = [fault]
        assert call() in (None, True)
        assert not proxy.faults
    assert target.stat("a") is None


@pytest.mark.parametrize("fault", ["reset", "503", "lost", "cut"])
def test_a_line_that_stays_broken_is_one_error_after_a_bounded_time(
    minio: Minio, bucket: str, proxy: Proxy, fault: str
) -> None:
    target = minio.target(bucket, proxy.port, prefix=f"broken-{fault}")
    target.put("a", b"x" * 100)
    proxy.always = fault
    began = time.monotonic()
    with pytest.raises(Failed, match="away: a cannot be read") as failure:
        target.get("a")
    assert time.monotonic() - began < 15
    assert "SENTINEL" not in str(failure.value) and failure.value.__cause__ is None and failure.value.why
    proxy.always = ""
    assert target.get("a") == b"x" * 100


def test_a_put_whose_answer_was_lost_is_published_once(minio: Minio, bucket: str, proxy: Proxy, keys: Keys) -> None:
    target = minio.target(bucket, proxy.port, prefix="lost")
    id = sets.new_id(NOW)
    data = Manifest(id, "lab", "h", NOW, NOW).signed(keys)
    proxy.faults = ["lost"]
    sets.publish(target, data)
    assert not proxy.faults
    assert [summary.id for summary in sets.list_sets(target, "lab", keys) if summary.valid] == [id]
    with pytest.raises(Failed, match="not touched"):
        sets.publish(target, Manifest(id, "lab", "another", NOW, NOW).signed(keys))


def test_a_listing_that_breaks_off_is_no_short_listing(minio: Minio, bucket: str, proxy: Proxy, keys: Keys) -> None:
    target = minio.target(bucket, proxy.port, prefix="pages")
    listing = target.list("a/")
    next(listing)
    proxy.always = "reset"
    with pytest.raises(Failed, match="cannot be listed"):
        list(listing)
    with pytest.raises(Failed, match="cannot be listed"):
        list(sets.list_sets(target, "lab", keys))


@pytest.mark.parametrize(
    ("more", "why"), [({"access_key": "nobody"}, "InvalidAccessKeyId"), ({"secret_key": SECRET + "x"}, "Signature")]
)
def test_wrong_credentials_are_told_without_them(minio: Minio, bucket: str, more: dict[str, str], why: str) -> None:
    with pytest.raises(Failed, match="cannot be written") as failure:
        minio.target(bucket, **more).probe()
    assert why in failure.value.why and "SENTINEL" not in str(failure.value)


def test_a_bucket_that_is_missing_is_told(minio: Minio) -> None:
    target = minio.target("no-such-bucket")
    for call in (lambda: target.put("a", b""), lambda: list(target.list("")), target.check_rules, target.probe):
        with pytest.raises(Failed) as failure:
            call()
        assert "NoSuchBucket" in failure.value.why


LIFECYCLES: dict[str, tuple[dict[str, Any], str]] = {
    "expires-all": ({"Expiration": {"Days": 30}, "Filter": {"Prefix": ""}}, "expire"),
    "expires-ours": ({"Expiration": {"Days": 30}, "Filter": {"Prefix": "prod/lab/"}}, "expire"),
    "expires-others": ({"Expiration": {"Days": 30}, "Filter": {"Prefix": "logs/"}}, ""),
    "noncurrent": ({"NoncurrentVersionExpiration": {"NoncurrentDays": 9}, "Filter": {"Prefix": ""}}, ""),
    "markers": ({"Expiration": {"ExpiredObjectDeleteMarker": True}, "Filter": {"Prefix": ""}}, ""),
}


@pytest.mark.parametrize("name", LIFECYCLES)
def test_only_a_rule_that_deletes_our_objects_is_refused(minio: Minio, name: str) -> None:
    rule, refused = LIFECYCLES[name]
    bucket = minio.bucket(name)
    configuration = {"Rules": [{"ID": "r", "Status": "Enabled", **rule}]}
    minio.client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=configuration)
    if not refused:
        return minio.target(bucket).check_rules()
    with pytest.raises(Failed, match="rules of its own") as failure:
        minio.target(bucket).check_rules()
    assert failure.value.code == REFUSED and "lifecycle rule r" in failure.value.why and refused in failure.value.why
    return None


def test_a_lock_by_default_is_refused_and_a_lock_without_is_not(minio: Minio) -> None:
    bucket = minio.bucket("locked", ObjectLockEnabledForBucket=True)
    minio.target(bucket).check_rules()
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 7}}
    minio.client.put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    with pytest.raises(Failed, match="rules of its own") as failure:
        minio.target(bucket).check_rules()
    assert "object lock by default: days 7, mode GOVERNANCE" in failure.value.why


def test_another_machine_behind_the_address_is_never_spoken_to(sshd: Sshd, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "k"], check=True)
    stranger = f"backup.example {(tmp_path / 'k.pub').read_text()}"
    with pytest.raises(Failed, match="not the machine that was known") as failure:
        sshd.target(host_key=stranger).put("a", b"x")
    assert failure.value.code == REFUSED
    sshd.target(host_key=f"x {(sshd.folder / 'other_key.pub').read_text()}").put("a", b"x")
    with pytest.raises(Failed, match=r"lets .* not in"):
        sshd.target(key=(tmp_path / "k").read_text()).put("a", b"x")


@pytest.mark.parametrize("after", [0, 200, 3_000, 100_000, 1_000_000])
def test_a_broken_ssh_line_is_made_again_and_leaves_the_whole_object(
    sshd: Sshd, relay: Relay, tmp_path: Path, after: int
) -> None:
    target, data = sshd.target(relay.port, path=str(tmp_path)), os.urandom(2_000_000)
    relay.cuts = [after, after]
    target.put("x/a", data)
    assert not relay.cuts and target.get("x/a") == data
    relay.cuts = [after]
    again = sshd.target(relay.port, path=str(tmp_path))
    assert again.get("x/a") == data and not relay.cuts
    assert again.stat("x/a") == len(data)


def test_an_ssh_server_that_is_gone_is_one_error_after_a_bounded_time(sshd: Sshd) -> None:
    began = time.monotonic()
    with pytest.raises(Failed, match="box: a cannot be written") as failure:
        sshd.target(free_port()).put("a", b"x")
    assert time.monotonic() - began < 15 and "refused" in failure.value.why


def test_a_folder_that_is_missing_is_no_empty_target(sshd: Sshd, keys: Keys) -> None:
    target = sshd.target(path=f"{sshd.folder}/not-mounted")
    for call in (lambda: list(target.list("")), lambda: list(sets.list_sets(target, "lab", keys)), target.probe):
        with pytest.raises(Failed, match="no folder"):
            call()
    assert not (sshd.folder / "not-mounted").exists()


@pytest.mark.parametrize("room", [0, 64, 3000])
def test_a_server_that_runs_full_on_the_way_is_found_out_and_nothing_is_left(tmp_path: Path, room: int) -> None:
    """Paramiko drops the errors of writes that it does not wait for: the last three megabytes of each file."""
    (tmp_path / "small").write_text(
        f"#!/bin/bash\ntrap '' XFSZ\nulimit -f {room}\nexec /usr/lib/openssh/sftp-server \"$@\"\n"
    )
    (tmp_path / "small").chmod(0o755)
    server = Sshd(tmp_path, str(tmp_path / "small"))
    try:
        target = server.target()
        for size in (room * 1024 + 1, room * 1024 + 100_000, 4_000_000):
            with pytest.raises(Failed, match="cannot be written") as failure:
                target.put("a/b", os.urandom(size))
            assert failure.value.code == FAILED
        assert list(target.list("")) == []
    finally:
        server.stop()


def test_a_set_outlives_the_death_of_one_of_its_targets(
    minio: Minio, bucket: str, proxy: Proxy, sshd: Sshd, drive: Path, tmp_path: Path, keys: Keys
) -> None:
    away, box = minio.target(bucket, proxy.port, prefix="whole"), sshd.target(path=str(tmp_path))
    near, data, id = PathTarget("drive", str(drive)), os.urandom(5_000_000), sets.new_id(NOW)
    prefix = sets.folder("lab", id)
    with PartWriter([away, box, near], keys, prefix, plain_size=300_000) as writer:
        first = writer.write("pg/one", [data])
        proxy.always = "reset"
        second = writer.write("pg/two", [data])
        assert writer.alive == [box, near] and list(writer.dropped) == ["away"]
        made = Manifest(
            id, "lab", "h", NOW, NOW, components={"postgres": {"pg/one": tuple(first), "pg/two": tuple(second)}}
        )
        for living in writer.alive:
            sets.publish(living, made.signed(keys))
    proxy.always = ""
    assert [summary.reason for summary in sets.list_sets(away, "lab", keys)] == ["unfinished"]
    for living in (box, near):
        there = next(sets.list_sets(living, "lab", keys))
        assert there.complete and there.manifest == made
        for parts in made.components["postgres"].values():
            assert b"".join(PartReader(living, keys, prefix).read(parts)) == data


def test_a_part_that_was_changed_on_a_target_is_named(target: Target, keys: Keys) -> None:
    prefix = sets.folder("lab", sets.new_id(NOW))
    with PartWriter([target], keys, prefix, plain_size=1000) as writer:
        parts = writer.write("pg/app", [os.urandom(3000)])
    stored = bytearray(target.get(f"{prefix}/{parts[1].name}"))
    stored[-1] ^= 1
    target.put(f"{prefix}/{parts[1].name}", bytes(stored))
    with pytest.raises(Failed, match=r"pg/app.00001 is damaged"):
        list(PartReader(target, keys, prefix).read(parts))


def test_keys_of_every_usual_kind_let_in(sshd: Sshd, tmp_path: Path) -> None:
    for kind in ("rsa", "ecdsa"):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", tmp_path / kind], check=True)
        with (sshd.folder / "authorized").open("a") as file:
            file.write((tmp_path / f"{kind}.pub").read_text())
        sshd.target(key=(tmp_path / kind).read_text()).put("a", b"x")


def test_the_largest_part_comes_back_and_takes_no_minutes(target: Target) -> None:
    data, began = os.urandom(LARGEST), time.monotonic()
    target.put("large", data)
    assert target.get("large") == data
    assert time.monotonic() - began < 30
