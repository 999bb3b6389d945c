"""MinIO's API, through the host's SSH connection directly to a node."""

from __future__ import annotations

import json
import re
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import field
from threading import Thread
from typing import TYPE_CHECKING, Any

from converge.errors import Trouble
from converge.inventory.secret import Secret
from converge.libraries import import_whole
from converge.record import dataclass
from roles.minio.nodes import living, pool

if TYPE_CHECKING:
    from converge.ssh.link import Link

REGION = "us-east-1"
READS_WITHIN = (5.0, 10.0, 20.0)
"""Seconds that a request may take, the first time and the next ones."""
NOT_READ_WITH = (
    "minio.minioadmin.MinioAdmin",
    "minio.select.SelectObjectReader",
    "minio.select.SelectRequest",
    "minio.replicationconfig.ReplicationConfig",
    "minio.notificationconfig.NotificationConfig",
    "minio.lifecycleconfig.LifecycleConfig",
    "minio.deleteobjects.DeleteError",
    "minio.deleteobjects.DeleteObject",
    "minio.deleteobjects.DeleteRequest",
    "minio.deleteobjects.DeleteResult",
)
"""Modules that minio-py loads and that no read needs, half of its load time: the admin client alone loads two cipher libraries."""
NOT_READY = "NotInitialized"
"""Endings of the codes for "not ready": of the server, IAM, or the buckets (MinIO, cmd/api-errors.go)."""


def load_minio_py() -> None:
    """Load minio-py and its dependencies before any part of it is used."""
    import_whole(
        "urllib3.connection",
        "urllib3.exceptions",
        "minio",
        "minio.error",
        "minio.signer",
        "minio.credentials.credentials",
        later=NOT_READ_WITH,
    )


def message_of(error: Exception) -> str:
    """The message of an error of minio-py, without the request, which may hold keys."""
    code, message = code_of(error), getattr(error, "message", "") or _body(error).get("Message", "")
    return f"{code}: {message}" if code else type(error).__name__ + ": " + str(error)[:200]


def code_of(error: Exception) -> str:
    """MinIO's error code."""
    return str(getattr(error, "code", "") or _body(error).get("Code", ""))


def _body(error: Exception) -> dict[str, Any]:
    """The body of an error of the admin API; minio-py passes it on unread, and it may be XML, empty, or a page of HTML."""
    text = getattr(error, "_body", None) or "{}"
    try:
        answer = json.loads(text)
    except ValueError:
        return {key: part[1] for key in ("Code", "Message") if (part := re.search(f"<{key}>(.*?)</{key}>", text, re.S))}
    return answer if isinstance(answer, dict) else {}


@dataclass(frozen=True)
class Api:
    """The addresses of a cluster, and the credentials."""

    nodes: tuple[tuple[str, int], ...]
    user: Secret = field(repr=False)
    password: Secret = field(repr=False)
    authority: str = field(default="", repr=False)
    """The certificate, as text, of the authority that signed the nodes' certificate; empty without TLS."""

    def client(self, link: Link, node: tuple[str, int], patience: float = 15, again: int = 1) -> Any:
        """A client of minio-py for one node, which waits `patience` seconds for an answer and asks once more."""
        load_minio_py()
        from minio import Minio

        host, port = node
        return Minio(
            f"{host}:{port}",
            self.user.reveal(),
            self.password.reveal(),
            secure=False,
            region=REGION,
            http_client=pool(link, patience, again, self.authority),
        )

    def read(self, link: Link, do: Callable[[Any], Any]) -> Any:
        """Ask a node, and again while it is silent or not ready, as it may have just started.

        Raises Trouble with MinIO's message if that does not change.
        """
        load_minio_py()
        from minio.error import MinioAdminException, MinioException
        from urllib3.exceptions import HTTPError

        patience, until = list(READS_WITHIN), time.monotonic() + sum(READS_WITHIN)
        while True:
            try:
                return _when_ready(
                    link, until, lambda: do(self.client(link, living(link, self.nodes), patience[0], again=0))
                )
            except HTTPError as error:
                if not patience[1:] or not link.alive():
                    raise _unreadable(link, error) from None
                del patience[0]
            except (MinioException, MinioAdminException) as error:
                raise _unreadable(link, error) from None

    def others(self, link: Link, client: Any, do: Callable[[Any], Any]) -> Callable[[], dict[str, Any]]:
        """Ask all nodes but the client's at the same time; returns a function that gives their answers by address.

        A node that is not ready is asked again, a silent one is left out.
        """
        from minio.error import MinioAdminException, MinioException
        from urllib3.exceptions import HTTPError

        answers: dict[str, Any] = {}
        until = time.monotonic() + sum(READS_WITHIN)

        def ask(node: tuple[str, int]) -> None:
            other = self.client(link, node, READS_WITHIN[1], again=0)
            with suppress(Trouble, HTTPError, MinioException, MinioAdminException, zipfile.BadZipFile):
                answers[node[0]] = _when_ready(link, until, lambda: do(other))

        nodes = [node for node in self.nodes if f"{node[0]}:{node[1]}" != client._base_url.host]
        threads = [Thread(target=ask, args=(node,), daemon=True) for node in nodes]
        for thread in threads:
            thread.start()

        def collect() -> dict[str, Any]:
            for thread in threads:
                thread.join(max(0, until - time.monotonic()))
            return dict(answers)

        return collect

    def any(self, link: Link, do: Callable[[Any], Any]) -> Any:
        """Do something with a node that answers."""
        return do(self.client(link, living(link, self.nodes)))


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


def _unreadable(link: Link, error: Exception) -> Trouble:
    return Trouble(
        "MinIO does not tell",
        where=link.target.name,
        why=message_of(error),
        hint=f"inv status --host {link.target.name}",
    )
