"""The stack's own MinIO, as root, at any node that answers. Requests are signed here, so that any header and query can be sent."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast
from urllib.parse import quote, urlencode, urlsplit

import urllib3

from worker.buckets.signing import Signer
from worker.contract import FAILED
from worker.errors import Failed
from worker.secret_file import secret_in
from worker.targets.base import with_patience
from worker.targets.s3 import opens

# A socket keeps its connect time-out while it sends, and a busy server may be slow to read; dead nodes are found by `opens`.
TIMEOUT = urllib3.Timeout(connect=20.0, read=60.0)
DOWN = "inv status names what is down; start it"
QUORUM = "/minio/health/cluster/read"
NO_QUORUM = "so many drives are away that it cannot read (no read quorum), and what it lists would not be all"
PATIENT = {500, 502, 503, 504, 408}
"""Statuses and codes that may be gone a moment later, or at another node."""
Query = Mapping[str, str]


class Answer:
    """The answer of a node: status, headers, body."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def code(self) -> str:
        """MinIO's error code; an answer to HEAD has it in a header."""
        for begin, end in ((b"<Code>", b"</Code>"), (b'"Code":"', b'"')):
            if begin in self.body:
                return self.body.partition(begin)[2].partition(end)[0].decode(errors="replace")
        return self.headers.get("x-minio-error-code", "") or f"HTTP {self.status}"

    @property
    def why(self) -> str:
        message = self.body.partition(b"<Message>")[2].partition(b"</Message>")[0].decode(errors="replace")
        return f"{self.code}: {message}" if message else self.code


class Refused(Failed):
    """MinIO refused a request; `answer` is its answer."""

    answer: Answer


class Silent(Failed):
    """No node answered the request, after all tries."""


class Away(Exception):
    """A node that does not answer, or is not ready."""


class Client:
    """Asks one node; if it is dead or busy, the next one, and all again after a pause."""

    def __init__(self, endpoints: list[str], access_key: str, secret_key: str, ca_file: str | None = None) -> None:
        self._endpoints, self._best, self._lock = endpoints, 0, threading.Lock()
        self._knocked = False
        self._signer = Signer(access_key, secret_key)
        self._pools = {endpoint: _pool(endpoint, ca_file) for endpoint in endpoints}

    def ask(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | bytearray = b"",
        may_fail: bool = False,
        with_quorum: bool = False,
    ) -> Answer:
        """The answer of a node; raises Refused for an error, unless `may_fail`.

        With `with_quorum`, an answer only counts if the same node still reads from enough drives, as it lists what it sees.
        """
        query_string = urlencode(query, quote_via=quote, safe="~") if query else ""

        def once() -> Answer:
            endpoint = self._endpoint()
            try:
                answer = self._once(method, endpoint, path, query_string, headers or {}, body)
            except (urllib3.exceptions.HTTPError, OSError) as error:
                self._distrust(endpoint)
                raise Away(str(error)) from None
            if answer.status in PATIENT:
                self._distrust(endpoint)
                raise Away(answer.why)
            if with_quorum and not self._reads(endpoint):
                self._distrust(endpoint)
                raise Away(NO_QUORUM)
            return answer

        try:
            answer = with_patience(once, lambda error: isinstance(error, Away))
        except Away as error:
            raise Silent(FAILED, f"MinIO does not answer to {method} of {path}", str(error)[:300], DOWN) from None
        if answer.status >= 300 and not may_fail:
            raise refused(f"MinIO refuses {method} of {path}", answer)
        return answer

    def _reads(self, endpoint: str) -> bool:
        """Whether a node reads from enough drives."""
        try:
            return self._once("GET", endpoint, QUORUM, "", {}, b"").status == 200
        except (urllib3.exceptions.HTTPError, OSError):
            return False

    def _once(
        self, method: str, endpoint: str, path: str, query: str, headers: Mapping[str, str], body: bytes | bytearray
    ) -> Answer:
        host, sha256 = urlsplit(endpoint).netloc, hashlib.sha256(body).hexdigest()
        signed = self._signer.signed(method, host, path, query, headers, sha256)
        # Metadata may be any text; it is sent as UTF-8, as it was signed.
        sent = cast(Any, {name: value.encode() for name, value in signed.items()})
        response = self._pools[endpoint].urlopen(
            method,
            f"{path}?{query}" if query else path,
            body=bytes(body) or None,
            headers=sent,
            redirect=False,
            retries=False,
            assert_same_host=False,
            decode_content=False,
        )
        return Answer(response.status, response.headers, response.data)

    def _endpoint(self) -> str:
        """The node that answered last; at first, and after a failure, the next one that accepts a connection."""
        with self._lock:
            if not self._knocked and len(self._endpoints) > 1:
                turns = [(self._best + turn) % len(self._endpoints) for turn in range(len(self._endpoints))]
                with ThreadPoolExecutor(len(turns), "knock") as pool:
                    opened = [pool.submit(opens, self._endpoints[turn]) for turn in turns]
                    self._best = next(
                        (turn for turn, door in zip(turns, opened, strict=True) if door.result()), self._best
                    )
            self._knocked = True
            return self._endpoints[self._best]

    def _distrust(self, endpoint: str) -> None:
        with self._lock:
            if self._endpoints[self._best] == endpoint:
                self._best, self._knocked = (self._best + 1) % len(self._endpoints), False


def _pool(endpoint: str, ca_file: str | None) -> urllib3.HTTPConnectionPool:
    """The connections to one node."""
    secure = {"ca_certs": ca_file} if endpoint.startswith("https:") and ca_file else {}
    return urllib3.connection_from_url(endpoint, timeout=TIMEOUT, maxsize=32, **secure)


def refused(what: str, answer: Answer) -> Refused:
    error = Refused(FAILED, what, answer.why)
    error.answer = answer
    return error


def md5_of(body: bytes) -> str:
    """The Content-MD5 that S3 requires for a body with a configuration."""
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def path(bucket: str, key: str = "") -> str:
    """The path of a bucket or an object; a key may hold any character."""
    return f"/{bucket}/{quote(key, safe='/~')}" if key else f"/{bucket}"


def from_config(config: Mapping[str, Any], read: Callable[[str], str]) -> Client:
    return Client(
        config["endpoints"], read(config["access_key_file"]), read(config["secret_key_file"]), config.get("ca_file")
    )


def connect(config: Mapping[str, Any]) -> Client:
    """A client of the stack's MinIO, at its nodes' own addresses, from the worker's configuration."""
    return from_config(config["buckets"], secret_in)
