"""MinIO's API, spoken through the host's SSH connection straight to a node."""

from __future__ import annotations

import io
import json
import re
import time
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from converge.errors import REFUSED, Trouble
from converge.inventory.secret import Secret
from converge.libraries import whole
from converge.shell import words

if TYPE_CHECKING:
    from converge.ssh.link import Link

REGION = "us-east-1"
PROOF = "stowage-proof"
HEAD_START, CONNECTS_WITHIN = 0.4, 3.0
"""Seconds that a node has before the next one is tried, and that the last one has."""
READS_WITHIN = (5.0, 10.0, 20.0)
"""Seconds that a question may take, the first time and the next ones."""
NOT_READY = "NotInitialized"
"""How the code ends with which a node asks for patience: of the server, of IAM, of the buckets (MinIO, cmd/api-errors.go)."""
SETTLES_WITHIN = 60
"""Seconds after a start in which a node may be green and yet not see the others' drives (measured by others: 15)."""


def library() -> None:
    """Load minio-py, and what it stands on, before the first part of it is used."""
    whole(
        "urllib3.connection",
        "urllib3.exceptions",
        "minio",
        "minio.error",
        "minio.signer",
        "minio.credentials.credentials",
    )


def said(error: Exception) -> str:
    """The words of an error of minio-py, without the request, which may hold keys."""
    code, message = code_of(error), getattr(error, "message", "") or _body(error).get("Message", "")
    return f"{code}: {message}" if code else type(error).__name__ + ": " + str(error)[:200]


def code_of(error: Exception) -> str:
    """MinIO's own word for what went wrong."""
    return str(getattr(error, "code", "") or _body(error).get("Code", ""))


def _body(error: Exception) -> dict[str, Any]:
    """What the admin API answered; minio-py hands it on as it came, which may be XML, nothing, or a page of HTML."""
    text = getattr(error, "_body", None) or "{}"
    try:
        found = json.loads(text)
    except ValueError:
        return {key: part[1] for key in ("Code", "Message") if (part := re.search(f"<{key}>(.*?)</{key}>", text, re.S))}
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Api:
    """Where a cluster answers and as whom."""

    nodes: tuple[tuple[str, int], ...]
    user: Secret = field(repr=False)
    password: Secret = field(repr=False)

    def client(self, link: Link, node: tuple[str, int], patience: float = 15, again: int = 1) -> Any:
        """A client of minio-py for one node, which waits `patience` seconds for an answer and asks once more."""
        library()
        from minio import Minio

        host, port = node
        return Minio(
            f"{host}:{port}",
            self.user.reveal(),
            self.password.reveal(),
            secure=False,
            region=REGION,
            http_client=pool(link, patience, again),
        )

    def read(self, link: Link, do: Callable[[Any], Any]) -> Any:
        """Ask a node that answers, and again while it stays silent or says that it is not ready: it has just started.

        Raises Trouble with MinIO's own words when it tells no more than that.
        """
        library()
        from minio.error import MinioAdminException, MinioException
        from urllib3.exceptions import HTTPError

        left, until = list(READS_WITHIN), time.monotonic() + sum(READS_WITHIN)
        while True:
            try:
                return _when_ready(
                    link, until, lambda: do(self.client(link, _living(link, self.nodes), left[0], again=0))
                )
            except HTTPError as error:
                if not left[1:] or not link.alive():
                    raise _untold(link, error) from None
                del left[0]
            except (MinioException, MinioAdminException) as error:
                raise _untold(link, error) from None

    def others(self, link: Link, client: Any, do: Callable[[Any], Any]) -> Callable[[], dict[str, Any]]:
        """Ask all nodes but the client's, at the same moment; what is returned tells their answers by address.

        One that says that it is not ready is asked again, one that is silent is left out.
        """
        from minio.error import MinioAdminException, MinioException
        from urllib3.exceptions import HTTPError

        found: dict[str, Any] = {}
        until = time.monotonic() + sum(READS_WITHIN)

        def ask(node: tuple[str, int]) -> None:
            other = self.client(link, node, READS_WITHIN[1], again=0)
            with suppress(Trouble, HTTPError, MinioException, MinioAdminException, zipfile.BadZipFile):
                found[node[0]] = _when_ready(link, until, lambda: do(other))

        nodes = [node for node in self.nodes if f"{node[0]}:{node[1]}" != client._base_url.host]
        threads = [Thread(target=ask, args=(node,), daemon=True) for node in nodes]
        for thread in threads:
            thread.start()

        def told() -> dict[str, Any]:
            for thread in threads:
                thread.join(max(0, until - time.monotonic()))
            return dict(found)

        return told

    def any(self, link: Link, do: Callable[[Any], Any]) -> Any:
        """Do something with a node that answers."""
        return do(self.client(link, _living(link, self.nodes)))


def _when_ready(link: Link, until: float, ask: Callable[[], Any]) -> Any:
    """What a node answers; one that has just started is asked again until then."""
    from minio.error import MinioAdminException, MinioException

    while True:
        try:
            return ask()
        except (MinioException, MinioAdminException) as error:
            if not code_of(error).endswith(NOT_READY) or time.monotonic() > until or not link.alive():
                raise
        time.sleep(0.5)


_LIVING: WeakKeyDictionary[Any, Future[tuple[str, int]]] = WeakKeyDictionary()
_FINDING = Lock()


def _living(link: Link, nodes: Sequence[tuple[str, int]]) -> tuple[str, int]:
    """The first node that takes a connection; found once for all questions that are asked at the same moment."""
    with _FINDING:
        future = _LIVING.get(link)
        if (
            future is None
            or (future.done() and future.exception())
            or (future.done() and not _takes(link, future.result()))
        ):
            future = _LIVING[link] = Future()
            Thread(target=_race, args=(link, nodes, future), daemon=True).start()
    try:
        return future.result(HEAD_START * len(nodes) + CONNECTS_WITHIN)
    except TimeoutError:
        raise _no_node(link, f"{', '.join(node[0] for node in nodes)} take no connection") from None


def _takes(link: Link, node: tuple[str, int]) -> bool:
    try:
        _connect_once(link, node)
    except Trouble:
        return False
    return True


def _connect_once(link: Link, node: tuple[str, int]) -> None:
    channel = link.tunnel(*node)
    with suppress(OSError):  # the line broke after it was opened: whoever speaks next is told
        channel.close()


def _race(link: Link, nodes: Sequence[tuple[str, int]], first: Future[tuple[str, int]]) -> None:
    """Knock at one node after the other, each with a head start: a dead one costs moments, not a time-out."""
    said: list[Trouble] = []

    def knock(node: tuple[str, int]) -> None:
        try:
            _connect_once(link, node)
        except Trouble as trouble:
            said.append(trouble)
            if len(said) == len(nodes) and not first.done():
                forbidden = next((one for one in said if one.code == REFUSED), None)
                first.set_exception(forbidden or _no_node(link, "; ".join(one.what for one in said[:1])))
        else:
            with suppress(InvalidStateError):
                first.set_result(node)

    for node in nodes:
        thread = Thread(target=knock, args=(node,), daemon=True)
        thread.start()
        thread.join(HEAD_START)
        if first.done():
            return


def _no_node(link: Link, why: str) -> Trouble:
    return Trouble(
        "no MinIO node answers", where=link.target.name, why=why, hint=f"inv status --host {link.target.name}"
    )


def _untold(link: Link, error: Exception) -> Trouble:
    return Trouble(
        "MinIO does not tell", where=link.target.name, why=said(error), hint=f"inv status --host {link.target.name}"
    )


def pool(link: Link, patience: float, again: int) -> Any:
    """A urllib3 pool whose connections are channels of the host's SSH connection."""
    import urllib3
    from urllib3.connection import HTTPConnection
    from urllib3.exceptions import NewConnectionError

    class Tunnelled(HTTPConnection):
        def _new_conn(self) -> Any:
            try:
                return link.tunnel(self.host, self.port or 80)
            except Trouble as trouble:
                raise NewConnectionError(self, trouble.what) from None

    class Pool(urllib3.HTTPConnectionPool):
        ConnectionCls = Tunnelled

    manager = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=5, read=patience), retries=urllib3.Retry(total=again, backoff_factor=0.2)
    )
    manager.pool_classes_by_scheme = {"http": Pool}
    return manager


def admin(client: Any, method: str, path: str, query: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    """One signed call of the admin API that minio-py has no method for; its answer is never logged."""
    import hashlib
    from datetime import UTC, datetime
    from urllib.parse import urlencode, urlsplit

    from minio.credentials.credentials import Credentials
    from minio.error import MinioAdminException
    from minio.signer import sign_v4_s3

    base, now = client._base_url, datetime.now(UTC)
    url = urlsplit(f"http://{base.host}/minio/admin/v3/{path}" + (f"?{urlencode(query)}" if query else ""))
    digest = hashlib.sha256(body).hexdigest()
    headers = {"Host": base.host, "x-amz-content-sha256": digest, "x-amz-date": now.strftime("%Y%m%dT%H%M%SZ")}
    found = client._provider.retrieve()
    signed = sign_v4_s3(
        method=method,
        url=url,
        region=REGION,
        headers=headers,
        credentials=Credentials(found.access_key, found.secret_key),
        content_sha256=digest,
        date=now,
    )
    answer = client._http.request(method, url.geturl(), headers=signed, body=body or None)
    if answer.status >= 300:
        client._http.clear()  # MinIO closes a connection on which an archive had begun, sometimes a moment later
        raise MinioAdminException(str(answer.status), answer.data.decode(errors="replace"))
    return bytes(answer.data)


def administrator(client: Any) -> Any:
    """minio-py's admin client for the node of a client; its calls encrypt what is secret."""
    from minio import MinioAdmin

    return MinioAdmin(
        endpoint=client._base_url.host,
        credentials=client._provider,
        region=REGION,
        secure=False,
        http_client=client._http,
    )


def unzipped(data: bytes) -> dict[str, bytes]:
    """The files of a zip archive by name."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def prove_data_path(api: Api, link: Link, folders: Sequence[str]) -> None:
    """Write a small object through each node and read it through all: green health checks alone do not prove that.

    Each node must reach as many drives as the others: one that sees fewer says of whole objects that they are not there.
    """
    library()
    import urllib3.exceptions
    from minio.error import MinioException

    _must_let_through(link, api.nodes[0])
    until = time.monotonic() + SETTLES_WITHIN
    while True:
        try:
            return _write_and_read(api, link, folders)
        except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
            if time.monotonic() > until or not link.alive():
                raise Trouble(
                    "MinIO runs, but data does not pass through all nodes", where=link.target.name, why=str(error)
                ) from None
            time.sleep(2)


def _must_let_through(link: Link, node: tuple[str, int]) -> None:
    """Forwarding that sshd forbids is told at once: asking again does not help."""
    try:
        _connect_once(link, node)
    except Trouble as trouble:
        if trouble.code == REFUSED:
            raise


def _write_and_read(api: Api, link: Link, folders: Sequence[str]) -> None:
    import urllib3.exceptions
    from minio.error import MinioException

    # A node that has just started may hold a request back for a minute (seen); asked again, it answers at once.
    clients = [api.client(link, node, patience=4, again=0) for node in api.nodes]
    if not clients[0].bucket_exists(PROOF):
        clients[0].make_bucket(PROOF)
    try:
        for number, writer in enumerate(clients):
            data = f"written through node {number + 1}".encode()
            writer.put_object(PROOF, f"node{number + 1}", io.BytesIO(data), len(data))
            for reader in clients:
                answer = reader.get_object(PROOF, f"node{number + 1}")
                if answer.read() != data:
                    raise OSError("what was read is not what was written")
                answer.release_conn()
        _must_reach_the_same(api, link, folders)
    except (MinioException, urllib3.exceptions.HTTPError, OSError):
        with suppress(MinioException, urllib3.exceptions.HTTPError):
            _clear_away(clients)
        raise
    _clear_away(clients)  # or it is no proof: nobody would look for what is left of it


def _must_reach_the_same(api: Api, link: Link, folders: Sequence[str]) -> None:
    """Count the copies of each node's object on the host: MinIO's health checks tell what others see."""
    objects = [f"{PROOF}/node{number + 1}/xl.meta" for number in range(len(api.nodes))]
    pipe = link.shell(
        "\n".join(
            f"timeout 5 ls -d {words(f'{one}/{name}' for one in folders)} 2>/dev/null | wc -l" for name in objects
        )
    )
    pipe.close_stdin()
    copies = []
    while line := pipe.readline(20):
        copies.append(int(line))
    if len(set(copies)) > 1:
        told = ", ".join(f"{node[0]} {count}" for node, count in zip(api.nodes, copies, strict=False))
        raise OSError(f"the nodes do not see the same drives; written through each, copies of a small object: {told}")


def _clear_away(clients: Sequence[Any]) -> None:
    for number in range(len(clients)):
        clients[0].remove_object(PROOF, f"node{number + 1}")
    clients[0].remove_bucket(PROOF)
