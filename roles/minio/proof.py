"""The proof that data can be stored: a small object is written through each node and read through all."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from converge.errors import REFUSED, Trouble
from converge.shell import quote_all
from roles.minio.api import Api, load_minio_py
from roles.minio.nodes import connect_once

if TYPE_CHECKING:
    from converge.ssh.link import Link

BUCKET = "stowage-proof"
SETTLES_WITHIN = 60
"""Seconds after a start in which a node may be healthy and yet not see the others' drives (measured by others: 15)."""


def prove_data_path(api: Api, link: Link, folders: Sequence[str]) -> None:
    """Write a small object through each node and read it through all: health checks do not prove that.

    Each node must reach as many drives as the others: a node with fewer answers that existing objects are absent.
    """
    load_minio_py()
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
    """Fails at once when sshd forbids forwarding: a second try does not help."""
    try:
        connect_once(link, node)
    except Trouble as trouble:
        if trouble.code == REFUSED:
            raise


def _write_and_read(api: Api, link: Link, folders: Sequence[str]) -> None:
    import urllib3.exceptions
    from minio.error import MinioException

    # A node that has just started may hold a request back for a minute (seen); asked again, it answers at once.
    clients = [api.client(link, node, patience=4, again=0) for node in api.nodes]
    if not clients[0].bucket_exists(BUCKET):
        clients[0].make_bucket(BUCKET)
    try:
        for number, writer in enumerate(clients):
            data = f"written through node {number + 1}".encode()
            writer.put_object(BUCKET, f"node{number + 1}", io.BytesIO(data), len(data))
            for reader in clients:
                answer = reader.get_object(BUCKET, f"node{number + 1}")
                if answer.read() != data:
                    raise OSError("what was read is not what was written")
                answer.release_conn()
        _must_reach_the_same(api, link, folders)
    except (MinioException, urllib3.exceptions.HTTPError, OSError):
        with suppress(MinioException, urllib3.exceptions.HTTPError):
            _clear_away(clients)
        raise
    _clear_away(clients)  # a failure here fails the proof: nobody would look for the leftovers


def _must_reach_the_same(api: Api, link: Link, folders: Sequence[str]) -> None:
    """Count the copies of each node's object on the host: a node's health check reports what the other nodes see."""
    objects = [f"{BUCKET}/node{number + 1}/xl.meta" for number in range(len(api.nodes))]
    pipe = link.shell(
        "\n".join(
            f"timeout 5 ls -d {quote_all(f'{folder}/{name}' for folder in folders)} 2>/dev/null | wc -l"
            for name in objects
        )
    )
    pipe.close_stdin()
    copies = []
    while line := pipe.readline(20):
        copies.append(int(line))
    if len(set(copies)) > 1:
        counts = ", ".join(f"{node[0]} {count}" for node, count in zip(api.nodes, copies, strict=False))
        raise OSError(f"the nodes do not see the same drives; written through each, copies of a small object: {counts}")


def _clear_away(clients: Sequence[Any]) -> None:
    for number in range(len(clients)):
        clients[0].remove_object(BUCKET, f"node{number + 1}")
    clients[0].remove_bucket(BUCKET)
