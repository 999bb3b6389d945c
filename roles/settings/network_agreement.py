"""Whether the private network fits: names that no container has, addresses that lie in it, once each."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]
Found = Iterator[tuple[Path, str]]

BRIDGE = ipaddress.IPv4Network("172.17.0.0/16")


def disagreements(settings: Any) -> Found:
    """Every name and address that cannot be in the private network, with the reason."""
    yield from _network(settings)
    yield from _addresses(settings)


def _network(settings: Any) -> Found:
    names = {node.name for node in settings.minio.nodes} if settings.minio else set()
    if settings.network.name in names | {"nginx", "postgres"}:
        yield (
            ("network", "name"),
            f"{settings.network.name} is the name of a container, and Docker tells them apart by name",
        )
    for at, node in enumerate(settings.minio.nodes if settings.minio else []):
        if node.name in ("nginx", "postgres", "localhost"):
            yield ("minio", "nodes", at, "name"), f"{node.name} is another's name: MinIO would ask there for this drive"
    bridge = settings.docker.daemon.get("bip") or settings.docker.daemon.get("default-address-pools")
    if not bridge and ipaddress.IPv4Network(settings.network.subnet).overlaps(BRIDGE):
        yield ("network", "subnet"), f"Docker's own bridge has {BRIDGE}"


def _addresses(settings: Any) -> Found:
    subnet = ipaddress.IPv4Network(settings.network.subnet)
    nodes = settings.minio.nodes if settings.minio else []
    taken: list[tuple[Path, str]] = [(("minio", "nodes", at, "address"), node.address) for at, node in enumerate(nodes)]
    if settings.nginx:
        taken.append((("nginx", "address"), settings.nginx.address))
        if settings.nginx.address in [node.address for node in nodes]:
            yield ("nginx", "address"), "a node of minio has this address"
    if settings.postgres:
        others = [address for _, address in taken]
        taken.append((("postgres", "address"), settings.postgres.address))
        if settings.postgres.address in others:
            yield ("postgres", "address"), "nginx or a node of minio has this address"
    reserved: dict[Any, str] = {
        subnet.network_address: "the network itself",
        subnet.broadcast_address: "its broadcast",
        subnet.network_address + 1: "Docker's gateway",
    }
    for path, address in taken:
        ip = ipaddress.ip_address(address)
        if ip not in subnet:
            yield path, f"it is not in the network {subnet}"
        elif ip in reserved:
            yield path, f"in {subnet} this is {reserved[ip]}"
