"""Clients that write, read and list through nginx while something happens to the cluster. They count what they are answered.

For ten rounds of each on the lab host of this checkout: python -m tests.lab.load --rounds 10
"""

from __future__ import annotations

import argparse
import hashlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.conftest import HERE, Clone

WRITERS, READERS = 3, 2
PACE = 0.2
"""Seconds that a client of a test rests after each request: what happens takes many seconds, and needs the machine itself. script/soak
lets them run."""
SIZES = (4_000, 40_000, 400_000)
"""Bytes: MinIO keeps small objects within their metadata, larger ones beside it."""
NEVER_WRITTEN = "never-written"


def client(clone: Clone, attempts: int = 1) -> Any:
    """boto3 through nginx's published port; without retries every answer counts."""
    import boto3
    from botocore.config import Config

    once = Config(retries={"total_max_attempts": attempts}, connect_timeout=5, read_timeout=60, max_pool_connections=1)
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{clone.port(9000)}",
        aws_access_key_id=clone.secret("root_user"),
        aws_secret_access_key=clone.secret("root_password"),
        region_name="us-east-1",
        config=once,
    )


def body(key: str) -> bytes:
    """The content of an object, derived from its key."""
    size = SIZES[int(key.rpartition("-")[2]) % len(SIZES)]
    return (hashlib.sha256(key.encode()).digest() * (size // 32 + 1))[:size]


@dataclass
class Load:
    """The clients, and the counts of their requests."""

    clone: Clone
    bucket: str = "under-load"
    pace: float = 0.0
    """Seconds that each client rests after a request."""
    acknowledged: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)
    """Set when the command that makes the change has reported its end."""
    over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[Load]:
        """Runs the clients until the block ends, also when it fails."""
        with suppress(Exception):
            client(self.clone).create_bucket(Bucket=self.bucket)
        works = [*(lambda s3, n=n: self._write(s3, n) for n in range(WRITERS)), *[self._read] * READERS, self._list]
        threads = [threading.Thread(target=self._work, args=(work,), daemon=True) for work in works]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self.over.set()
            for thread in threads:
                thread.join(120)

    def _work(self, work: Callable[[Any], None]) -> None:
        s3 = client(self.clone)
        while not self.over.wait(self.pace):
            work(s3)

    def _write(self, s3: Any, number: int) -> None:
        key = f"writer{number}-{self.counts[f'key{number}']:06}"
        self.counts[f"key{number}"] += 1
        if self._asked("PUT", key, lambda: s3.put_object(Bucket=self.bucket, Key=key, Body=body(key))):
            self.acknowledged.append(key)

    def _read(self, s3: Any) -> None:
        if not self.acknowledged:
            time.sleep(0.1)
            return
        key = random.choice(self.acknowledged[-2000:])
        answer = self._asked("GET", key, lambda: s3.get_object(Bucket=self.bucket, Key=key)["Body"].read())
        if answer and answer != body(key):
            self._note(f"GET {key}: other content")
        if random.random() < 0.1:
            self._asked("HEAD of none", NEVER_WRITTEN, lambda: s3.head_object(Bucket=self.bucket, Key=NEVER_WRITTEN))

    def _list(self, s3: Any) -> None:
        """Lists, and checks that every object acknowledged before is in the listing."""
        time.sleep(0.3)
        before = sorted(key for key in self.acknowledged[:] if key.startswith("writer1-"))[-200:]
        if not before:
            return
        start = before[0][:-1]
        answer = self._asked(
            "LIST", start, lambda: s3.list_objects_v2(Bucket=self.bucket, Prefix="writer1-", StartAfter=start)
        )
        if answer:
            there = {entry["Key"] for entry in answer.get("Contents", [])}
            last = max(there, default="~") if answer.get("IsTruncated") else "~"
            missing = [key for key in before if key not in there and key <= last]
            self.counts["LIST without an acknowledged object"] += bool(missing)
            if missing:
                self._note(f"LIST without {len(missing)} of {len(before)} objects, {missing[0]} to {missing[-1]}")

    def _asked(self, verb: str, key: str, do: Callable[[], Any]) -> Any:
        from botocore.exceptions import ClientError

        began, done = time.monotonic(), self.done.is_set()
        try:
            answer = do()
        except ClientError as error:
            metadata = error.response["ResponseMetadata"]
            code, node = metadata["HTTPStatusCode"], metadata["HTTPHeaders"].get("x-amz-id-2", "")[:4]
            self._failed(verb, str(code), done and code != 404)
            if code == 404 and key != NEVER_WRITTEN:
                self._note(f"{verb} {key}: 404 {error.response['Error']['Code']} from node {node}")
            if code != 404:
                time.sleep(0.05)
            return None
        except Exception as error:  # a broken connection
            self._failed(verb, type(error).__name__, done)
            time.sleep(0.05)
            return None
        self.counts[f"{verb} well"] += 1
        self.counts[f"{verb} over 2 s"] += time.monotonic() - began > 2
        return answer

    def _failed(self, verb: str, how: str, after: bool) -> None:
        self.counts[f"{verb} {how}"] += 1
        self.counts["failed after it was done"] += after

    def _note(self, text: str) -> None:
        self.wrong.append(f"{time.strftime('%H:%M:%S')} {text}")

    def lost(self) -> list[str]:
        """Acknowledged objects that are missing after the event; all are listed, some are read."""
        s3, there = client(self.clone, attempts=12), set[str]()  # MinIO answers no listing for 20 s after a boot
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket):
            there |= {entry["Key"] for entry in page.get("Contents", [])}
        read = random.sample(self.acknowledged, min(100, len(self.acknowledged)))
        other = [key for key in read if s3.get_object(Bucket=self.bucket, Key=key)["Body"].read() != body(key)]
        return sorted(set(self.acknowledged) - there) + other

    def clear(self) -> None:
        """Removes the bucket with all its objects."""
        s3 = client(self.clone, attempts=12)
        while entries := s3.list_objects_v2(Bucket=self.bucket).get("Contents"):
            s3.delete_objects(Bucket=self.bucket, Delete={"Objects": [{"Key": entry["Key"]} for entry in entries]})
        s3.delete_bucket(Bucket=self.bucket)

    def summary(self) -> str:
        """The counts, one line."""
        shown = {name: count for name, count in sorted(self.counts.items()) if count and not name.startswith("key")}
        return f"{len(self.acknowledged)} acknowledged; " + ", ".join(f"{name}: {n}" for name, n in shown.items())


def writable(clone: Clone) -> None:
    """Waits, at most two minutes, until the cluster accepts writes, in one loop on the host, to spare a booting machine."""
    ask = "curl -fs -m 2 -o /dev/null http://172.30.99.1$node:9000/minio/health/cluster"
    clone.on_host(f"for try in $(seq 120); do for node in 1 2 3 4; do ! {ask} || exit 0; done; sleep 1; done")


def well(clone: Clone) -> None:
    writable(clone)
    until = time.monotonic() + 300
    while not clone.inv("status", code=None).startswith(f"{clone.host}: all is well"):
        assert time.monotonic() < until, "the host is not well after 300 s"
        time.sleep(2)


def pull(clone: Clone) -> None:
    """Removes a drive, and puts it back after a while with its old content."""
    drive = str(random.randint(1, 4))
    clone.inv("lab.pull-drive", drive)
    time.sleep(6)
    clone.inv("lab.put-back-drive", drive)
    clone.inv("deploy", "--yes")


def restart(clone: Clone) -> None:
    clone.inv("restart", "minio")


def reboot(clone: Clone) -> None:
    clone.inv("lab.reboot")
    well(clone)


def restart_nginx(clone: Clone) -> None:
    clone.inv("restart", "nginx")


EVENTS: dict[str, Callable[[Clone], None]] = {
    "pull": pull,
    "restart": restart,
    "reboot": reboot,
    "restart-nginx": restart_nginx,
}


def during(clone: Clone, event: str, rounds: int = 1, pace: float = 0.0) -> Load:
    """Runs the load before, during and some time after an event, `rounds` times, each on a healthy host."""
    with Load(clone, f"under-load-{event}", pace).running() as load:
        time.sleep(3)
        for number in range(rounds):
            load.done.clear()
            EVENTS[event](clone)
            load.done.set()
            time.sleep(6)
            well(clone)
            print(f"{event} {number + 1} of {rounds}: wrong: {len(load.wrong)}; {load.summary()}", flush=True)
    return load


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=1)
    arguments.add_argument("--host", default="lab")
    arguments.add_argument("--root", type=Path, default=HERE)
    arguments.add_argument("events", nargs="*", default=list(EVENTS))
    chosen = arguments.parse_args()
    failed = False
    for event in chosen.events:
        load = during(Clone(chosen.root, chosen.host), event, chosen.rounds)
        lost = load.lost()
        print(f"{event}, after {chosen.rounds} rounds: wrong: {len(load.wrong)}, lost: {len(lost)}", flush=True)
        for line in [*load.wrong, *lost]:
            print(f"    {line}", flush=True)
        load.clear()
        failed = failed or bool(load.wrong or lost)
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
