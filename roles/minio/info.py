"""What `inv minio.info` shows: the nodes and drives of the cluster, its capacity, parity and versions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from converge.record import dataclass
from converge.ssh.link import connect
from converge.ui.durations import spoken
from converge.ui.lines import say
from roles.minio.admin import admin
from roles.minio.role import api_of, settings_of
from roles.minio.status import quorum
from worker.size import human

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.minio.settings import Node as NodeSettings
    from roles.settings.model import Settings


@dataclass(frozen=True)
class Drive:
    path: str
    state: str
    total: int
    used: int
    free: int


@dataclass(frozen=True)
class Node:
    name: str
    state: str
    version: str
    uptime: int
    drives: tuple[Drive, ...]


@dataclass(frozen=True)
class Info:
    """Sizes in bytes. `usable` is what objects may take, `free` what is left of it; the smallest drive of a pool counts."""

    deployment: str
    parity: int
    raw: int
    usable: int
    free: int
    quorum: str
    nodes: tuple[Node, ...]


def show(host: Host[Settings], as_json: bool) -> None:
    link = connect(host.target)
    try:
        answer = api_of(host).read(link, lambda client: json.loads(admin(client, "GET", "info")))
    finally:
        link.close()
    info = read(answer, settings_of(host).nodes)
    if as_json:
        print(json.dumps({"host": host.name, **asdict(info)}))
    else:
        for line in lines(host.name, info):
            say(line)


def read(answer: Mapping[str, Any], nodes: Sequence[NodeSettings]) -> Info:
    """The answer of the admin API, each node by its name in the settings."""
    names = {node.address: node.name for node in nodes}
    servers = answer.get("servers") or []
    backend = answer.get("backend") or {}
    parity = backend.get("standardSCParity", 0)
    sizes = [
        _usable(at, sets * (drives - parity), servers)
        for at, (sets, drives) in enumerate(
            zip(backend.get("totalSets") or [], backend.get("totalDrivesPerSet") or [], strict=False)
        )
    ]
    answering = tuple(_node(server, names) for server in servers)
    drives = [drive for node in answering for drive in node.drives]
    return Info(
        deployment=answer.get("deploymentID", ""),
        parity=parity,
        raw=sum(drive.total for drive in drives),
        usable=sum(usable for usable, _ in sizes),
        free=sum(free for _, free in sizes),
        quorum=quorum(sum(drive.state == "ok" for drive in drives), len(nodes), parity),
        nodes=tuple(sorted(answering, key=lambda node: node.name)),
    )


def _usable(pool: int, data_drives: int, servers: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """The bytes that the objects of a pool may take, and those that are free; drives without an answer count like the others."""
    drives = [drive for server in servers for drive in server.get("drives") or [] if drive.get("pool_index") == pool]
    sizes = [drive["totalspace"] for drive in drives if drive.get("totalspace")]
    free = [drive.get("availspace", 0) for drive in drives if drive.get("totalspace")]
    return data_drives * min(sizes, default=0), data_drives * min(free, default=0)


def _node(server: Mapping[str, Any], names: Mapping[str, str]) -> Node:
    place = server.get("endpoint", "").rpartition(":")[0]
    drives = [
        Drive(
            drive.get("path") or drive.get("endpoint", ""),
            drive.get("state", "unknown"),
            drive.get("totalspace", 0),
            drive.get("usedspace", 0),
            drive.get("availspace", 0),
        )
        for drive in server.get("drives") or []
    ]
    return Node(
        names.get(place, place),
        server.get("state", "unknown"),
        server.get("version", ""),
        server.get("uptime", 0),
        tuple(drives),
    )


def lines(host: str, info: Info) -> Iterator[str]:
    """The screen."""
    versions = sorted({node.version for node in info.nodes if node.version})
    yield f"{host}: MinIO {', '.join(versions) or '(no node tells its version)'}"
    yield f"  capacity   {human(info.raw)} raw, {human(info.usable)} for objects, {human(info.free)} of it free"
    yield f"  parity     EC:{info.parity}: of the drives of a set, {info.parity} hold what restores the others"
    yield f"  quorum     {info.quorum}"
    for node in info.nodes:
        up = f", up {spoken(node.uptime)}" if node.uptime else ""
        yield f"  {node.name:10} {node.state}{up}{_odd(node.version, versions)}"
        for drive in node.drives:
            space = f", {human(drive.used)} of {human(drive.total)} used" if drive.total else ""
            yield f"    {drive.path:8} {drive.state}{space}"


def _odd(version: str, versions: Sequence[str]) -> str:
    """The version of a node, if not all nodes have the same."""
    return f", version {version}" if len(versions) > 1 and version else ""
