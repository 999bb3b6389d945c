"""The cluster's nodes, reached through the host's SSH connection: the first that answers, and connections to each."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from converge.errors import REFUSED, Trouble

if TYPE_CHECKING:
    from converge.ssh.link import Link

HEAD_START, CONNECTS_WITHIN = 0.4, 3.0
"""Seconds before the next node is tried, and seconds for the last node."""

_LIVING: WeakKeyDictionary[Any, Future[tuple[str, int]]] = WeakKeyDictionary()
_FINDING = Lock()


def living(link: Link, nodes: Sequence[tuple[str, int]]) -> tuple[str, int]:
    """The first node that accepts a connection; searched once for all requests of the same moment."""
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
        connect_once(link, node)
    except Trouble:
        return False
    return True


def connect_once(link: Link, node: tuple[str, int]) -> None:
    channel = link.tunnel(*node)
    with suppress(OSError):  # the connection broke after it was opened: the next request gets the error
        channel.close()


def _race(link: Link, nodes: Sequence[tuple[str, int]], first: Future[tuple[str, int]]) -> None:
    """Connect to one node after the other, each with a head start: a dead node costs moments, not a time-out."""
    troubles: list[Trouble] = []

    def knock(node: tuple[str, int]) -> None:
        try:
            connect_once(link, node)
        except Trouble as trouble:
            troubles.append(trouble)
            if len(troubles) == len(nodes) and not first.done():
                forbidden = next((refusal for refusal in troubles if refusal.code == REFUSED), None)
                first.set_exception(forbidden or _no_node(link, "; ".join(refusal.what for refusal in troubles[:1])))
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


def pool(link: Link, patience: float, again: int, authority: str = "") -> Any:
    """A urllib3 pool whose connections are channels of the host's SSH connection, with TLS if there is an authority.

    minio-py sees plain HTTP: Python's own TLS needs a socket, and a channel is none.
    """
    import urllib3
    from urllib3.connection import HTTPConnection
    from urllib3.exceptions import NewConnectionError

    class Tunnelled(HTTPConnection):
        def _new_conn(self) -> Any:
            try:
                channel = link.tunnel(self.host, self.port or 80)
                if not authority:
                    return channel
                from roles.minio.channel_tls import TlsChannel

                channel.settimeout(CONNECTS_WITHIN)
                return TlsChannel(channel, authority, self.host)
            except Trouble as trouble:
                raise NewConnectionError(self, trouble.what) from None
            except OSError as error:
                raise NewConnectionError(self, f"no TLS with {self.host}: {error}") from None

    class Pool(urllib3.HTTPConnectionPool):
        ConnectionCls = Tunnelled

    manager = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=5, read=patience), retries=urllib3.Retry(total=again, backoff_factor=0.2)
    )
    manager.pool_classes_by_scheme = {"http": Pool}
    return manager
