"""A target that is a bucket, on any S3 server; its nodes are tried in turn."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import urllib3.exceptions
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnection

from worker.contract import FAILED, REFUSED
from worker.errors import Failed
from worker.size import human
from worker.targets import base
from worker.targets.base import (
    PARTIAL,
    Entry,
    Exists,
    Full,
    Missing,
    Probe,
    Room,
    T,
    checked,
    checked_prefix,
    fits,
    with_patience,
)
from worker.targets.s3_health import READING, lacking
from worker.targets.s3_rules import dangers

KNOCK, PAUSE = 3.0, 5.0
FIRST, AGAIN = 8.0, 30.0
"""Seconds to retry when no node accepts connections: before the first success in this run, and after one."""
# A socket keeps its connect time-out while it sends, and a busy server may need longer than a connect.
CONFIG = {"connect_timeout": 20, "read_timeout": 60, "retries": {"total_max_attempts": 1}, "max_pool_connections": 32}
STYLE = {"addressing_style": "path"}
# Older servers do not support CRC trailers; every body is signed by its sha256 anyhow.
CHECKSUMS = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
ABSENT = {"404", "NoSuchKey", "NotFound"}
TAKEN = {"412", "PreconditionFailed"}
FULL = {
    *("XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded", "InsufficientStorage", "StorageFull"),
    *("InsufficientCapacity", "NotEnoughSpace", "507"),
}
"""Error codes for full drives, or an exceeded quota."""
BLOCK = 1 << 20
MAKING = threading.Lock()
DOWN = "inv status names what is down; start it"
BUSY = {"RequestTimeout", "SlowDown", "OperationAborted", "IncompleteBody", "ConditionalRequestConflict"}


class NobodyHome(OSError):
    """No node of the target accepts a connection."""


class Body(io.BytesIO):
    """The bytes of an object, a megabyte at a time: the HTTP library asks for 16 KiB, which takes as much CPU again as their hash."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(max(size, BLOCK) if size and size > 0 else size)


class S3Target:
    """Each object is one request, so it is stored completely or not at all."""

    def __init__(
        self,
        name: str,
        endpoints: list[str],
        bucket: str,
        prefix: str,
        access_key: str,
        secret_key: str,
        region: str = "us-east-1",
        ca_file: str | None = None,
    ) -> None:
        self.name, self._bucket, self._endpoints, self._ca = name, bucket, list(endpoints), ca_file
        self._prefix = checked(prefix.strip("/")) + "/" if prefix.strip("/") else ""
        self._secrets, self._region = (access_key, secret_key), region
        self._lock, self._clients, self._best = threading.Lock(), dict[str, Any](), 0
        self._knocked, self._patience, self._nobody = False, FIRST, float("-inf")
        self._reads = self._waited = False

    def __repr__(self) -> str:
        return f"S3Target({self.name}, {self._bucket}/{self._prefix})"

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        fits(self.name, checked(key), len(data))
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        try:
            self._ask(
                f"{key} cannot be written",
                lambda client: client.put_object(**self._of(key), Body=Body(data), **condition),
            )
        except Full as error:
            error.why = f"{human(len(data))} were to be written to the bucket {self._bucket}; {error.why}"
            raise

    def get(self, key: str) -> bytes:
        def read(client: Any) -> bytes:
            answer = client.get_object(**self._of(checked(key)))
            fits(self.name, key, answer["ContentLength"])
            return bytes(answer["Body"].read())

        return self._ask(f"{key} cannot be read", read)

    def stat(self, key: str) -> int | None:
        try:
            answer = self._ask(
                f"{key} cannot be looked at", lambda client: client.head_object(**self._of(checked(key)))
            )
        except Missing:
            return None
        return int(answer["ContentLength"])

    def list(self, prefix: str) -> Iterator[Entry]:
        self._must_read(prefix)
        more: dict[str, str] = {"Bucket": self._bucket, "Prefix": self._prefix + checked_prefix(prefix)}
        while True:
            page = self._ask(f"{prefix or '/'} cannot be listed", lambda client: client.list_objects_v2(**more))
            for item in page.get("Contents", []):
                yield Entry(item["Key"][len(self._prefix) :], item["Size"], item["LastModified"].astimezone(UTC))
            if not page.get("IsTruncated"):
                return
            more["ContinuationToken"] = page["NextContinuationToken"]

    def _must_read(self, prefix: str) -> None:
        """Fails where a MinIO has too few drives to be read: of each request it would take half a minute to say so."""
        if self._reads:
            return
        why = lacking(self._open(), self._ca, what=READING)
        if why and not self._waited:
            time.sleep(PAUSE)  # it may be starting
            self._waited, why = True, lacking(self._open(), self._ca, what=READING)
        if why:
            raise self._cannot("read", f"{why}; {prefix or '/'} cannot be listed")
        self._reads = True

    def delete(self, key: str) -> None:
        checked(key.removesuffix(PARTIAL))
        self._ask(f"{key} cannot be deleted", lambda client: client.delete_object(**self._of(key)))

    def probe(self) -> Probe:
        # A cluster without enough drives takes minutes to refuse the canary, with a message about request rates.
        if lacking(self._open(), self._ca):
            time.sleep(PAUSE)  # it may be starting
            if why := lacking(self._open(), self._ca):
                raise self._cannot("written", why)
        return base.probe(self)

    def room(self) -> Room | None:
        """S3 has no request for it."""
        return None

    def _open(self) -> tuple[str, ...]:
        """The nodes that accept connections, so that no time is spent on the others."""
        silent = self.silent()
        return tuple(endpoint for endpoint in self._endpoints if endpoint not in silent)

    def _cannot(self, be: str, why: str) -> Failed:
        nodes = (
            f"{len(silent)} of its {len(self._endpoints)} nodes do not answer: {', '.join(silent)}; "
            if (silent := self.silent())
            else ""
        )
        return Failed(FAILED, f"{self.name}: it cannot be {be}", nodes + why, DOWN)

    def silent(self) -> tuple[str, ...]:
        with ThreadPoolExecutor(len(self._endpoints)) as pool:
            opened = tuple(pool.map(opens, self._endpoints))
        return tuple(endpoint for endpoint, opens in zip(self._endpoints, opened, strict=True) if not opens)

    def check_rules(self) -> None:
        faults = dangers(lambda what, act: self._ask(what, act), self._bucket, self._prefix)
        if faults:
            hint = "let only noncurrent versions and unfinished uploads expire there, or name another bucket"
            raise Failed(
                REFUSED, f"{self.name}: the bucket {self._bucket} has rules of its own", "\n".join(faults), hint
            )

    def _of(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + key}

    def _ask(self, what: str, act: Callable[[Any], T]) -> T:
        """The answer of a node; after a dead one the next node is asked, and all again after a pause."""

        def once() -> T:
            endpoint = self._endpoint()
            try:
                return act(self._client(endpoint))
            except Exception as error:
                if _transient(error):
                    self._distrust(endpoint)
                raise

        try:
            return with_patience(once, _transient)
        except ClientError as error:
            raise self._failure(what, error) from None
        except (BotoCoreError, HTTPClientError, urllib3.exceptions.HTTPError, OSError) as error:
            if not isinstance(error, NobodyHome) and (lacks := lacking(self._open(), self._ca)):
                raise self._cannot("written", f"{lacks}; {what}") from None
            hint = DOWN if isinstance(error, NobodyHome) else ""
            raise Failed(FAILED, f"{self.name}: {what}", self._redacted(error), hint) from None

    def _failure(self, what: str, error: ClientError) -> Failed:
        code, status = _code(error), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        message = self._redacted(error.response.get("Error", {}).get("Message") or "")
        why = f"{code}: {message}" if message and message != code else f"{code}, HTTP {status}"
        if code in ABSENT:
            return Missing(FAILED, f"{self.name}: {what}", why="there is no such object")
        if code in FULL or status == 507:
            return Full(
                FAILED, f"{self.name}: it has no room left", why, f"more room, or a larger quota, for {self._bucket}"
            )
        if status == 503 and (lacks := lacking(self._open(), self._ca)):
            return self._cannot("written", f"{lacks}; {what}")
        if code in TAKEN:
            return Exists(FAILED, f"{self.name}: {what}", why="it is there already")
        return Failed(FAILED, f"{self.name}: {what}", why=why)

    def _redacted(self, error: object) -> str:
        text = str(error)
        for secret in self._secrets:
            text = text.replace(secret, "[redacted]") if secret else text
        return text

    def _endpoint(self) -> str:
        """The node that answered last; after a failure the next one that accepts a connection."""
        came = time.monotonic()
        with self._lock:
            if not self._knocked:
                # Another thread may have found all nodes dead while this one waited for the lock: that wait counts.
                opens = self._another(came + self._patience) if self._nobody < came else None
                if opens is None:
                    self._nobody = time.monotonic()
                    raise NobodyHome(f"nobody answers at {' or '.join(self._endpoints)}")
                self._best, self._knocked, self._patience = opens, True, AGAIN
            return self._endpoints[self._best]

    def _another(self, until: float) -> int | None:
        """The current node, or the next one that accepts a connection; tried until the time is over, as nodes may be starting."""
        turns = [(self._best + turn) % len(self._endpoints) for turn in range(len(self._endpoints))]
        while True:
            # All at once, as a dead node costs a time-out of seconds; the first that accepts is taken.
            pool = ThreadPoolExecutor(len(turns), "knock")
            opened = [pool.submit(opens, self._endpoints[turn]) for turn in turns]
            node = next((turn for turn, opens in zip(turns, opened, strict=True) if opens.result()), None)
            pool.shutdown(wait=False)
            if node is not None or time.monotonic() > until:
                return node
            time.sleep(1)

    def _distrust(self, endpoint: str) -> None:
        with self._lock:
            if self._endpoints[self._best] == endpoint:
                self._best, self._knocked = (self._best + 1) % len(self._endpoints), False

    def _client(self, endpoint: str) -> Any:
        with self._lock:
            if endpoint not in self._clients:
                access_key, secret_key = self._secrets
                with MAKING:
                    self._clients[endpoint] = _session().create_client(
                        "s3",
                        endpoint_url=endpoint,
                        aws_access_key_id=access_key,
                        aws_secret_access_key=secret_key,
                        region_name=self._region,
                        verify=self._ca,
                        config=Config(signature_version="s3v4", s3=STYLE, **CONFIG, **CHECKSUMS),
                    )
            return self._clients[endpoint]


@cache
def _session() -> Any:
    """One for all targets and users: it keeps what it has read of the interface of S3."""
    return botocore.session.get_session()


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "?"))


def _transient(error: Exception) -> bool:
    if isinstance(error, ClientError):
        return _code(error) not in FULL and (
            _code(error) in BUSY or error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500
        )
    # Including truncated bodies and time-outs. NobodyHome is not transient: it was retried before.
    return not isinstance(error, NobodyHome) and isinstance(
        error, NoConnection | HTTPClientError | urllib3.exceptions.HTTPError | OSError
    )


def opens(endpoint: str) -> bool:
    """Whether a node accepts connections."""
    where = urlsplit(endpoint)
    port = where.port or (443 if where.scheme == "https" else 80)
    with suppress(OSError), socket.create_connection((where.hostname, port), KNOCK):
        return True
    return False
