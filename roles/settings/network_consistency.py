"""Whether the networks fit: apart from each other, with names that no container has, and addresses that lie in them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from roles.settings.faults import Faults, Path
from roles.settings.field_checks import known
from roles.settings.networks import containers, first

if TYPE_CHECKING:
    from roles.settings.model import Settings


BRIDGE = ipaddress.IPv4Network("172.17.0.0/16")


def inconsistencies(settings: Settings) -> Faults:
    """Every name, subnet and address that is not possible, with the reason."""
    yield from _names(settings)
    yield from _subnets(settings)
    yield from _members(settings)
    yield from _addresses(settings)


def _names(settings: Settings) -> Faults:
    if not settings.networks:
        yield ("networks",), "at least one network"
    taken = containers(settings)
    for name in settings.networks:
        if name in taken or name in ("nginx", "traefik", "postgres"):
            yield ("networks", name), f"{name} is the name of a container, and Docker tells them apart by name"
    for at, node in enumerate(settings.minio.nodes if settings.minio else []):
        if node.name in ("nginx", "traefik", "postgres", "localhost"):
            yield ("minio", "nodes", at, "name"), f"{node.name} is another's name: MinIO would ask there for this drive"


def _subnets(settings: Settings) -> Faults:
    subnets = {name: ipaddress.IPv4Network(network.subnet) for name, network in settings.networks.items()}
    bridge = settings.docker.daemon.get("bip") or settings.docker.daemon.get("default-address-pools")
    for at, (name, subnet) in enumerate(subnets.items()):
        path = ("networks", name, "subnet")
        if not bridge and subnet.overlaps(BRIDGE):
            yield path, f"Docker's own bridge has {BRIDGE}"
        for other in list(subnets)[:at]:
            if subnet.overlaps(subnets[other]):
                yield path, f"it overlaps with {subnets[other]}, the network {other}"


def pages(settings: Settings) -> Iterator[tuple[Path, Sequence[str]]]:
    """What each page says of its networks, and where."""
    if settings.minio:
        yield ("minio", "networks"), settings.minio.networks
    if settings.postgres:
        yield ("postgres", "networks"), settings.postgres.networks
    for name, page in settings.services.items():
        yield ("services", name, "networks"), page.networks


def _members(settings: Settings) -> Faults:
    for path, names in pages(settings):
        if not names and len(settings.networks) > 1:
            yield path, f"the host has several networks: name those that it joins, of {', '.join(settings.networks)}"
        for at, name in enumerate(names):
            if name not in settings.networks:
                yield (*path, at), f"networks has no {known(name, settings.networks)}"
            elif name in names[:at]:
                yield (*path, at), f"{name} stands twice"


def _addresses(settings: Settings) -> Faults:
    taken: dict[tuple[str, str], str] = {}
    for path, address, network in _fixed(settings):
        if network not in settings.networks:
            continue
        subnet = ipaddress.IPv4Network(settings.networks[network].subnet)
        if why := _unfit(ipaddress.ip_address(address), subnet):
            yield path, why
        elif (network, address) in taken:
            yield path, f"{taken[network, address]} has this address"
        taken.setdefault((network, address), ".".join(map(str, path[:-1])))


def _fixed(settings: Settings) -> Iterator[tuple[Path, str, str]]:
    """Each fixed address and the network that it must lie in: the first of its page."""
    minio = first(settings, settings.minio.networks if settings.minio else [])
    for at, node in enumerate(settings.minio.nodes if settings.minio else []):
        yield ("minio", "nodes", at, "address"), node.address, minio
    if settings.postgres:
        yield ("postgres", "address"), settings.postgres.address, first(settings, settings.postgres.networks)


def _unfit(address: ipaddress.IPv4Address | ipaddress.IPv6Address, subnet: ipaddress.IPv4Network) -> str:
    """Why an address cannot be fixed in a network: it lies outside of it, or Docker may give it to another container."""
    reserved: dict[object, str] = {
        subnet.network_address: "the network itself",
        subnet.broadcast_address: "its broadcast",
        subnet.network_address + 1: "Docker's gateway",
    }
    if address not in subnet:
        return f"it is not in the network {subnet}"
    if address in reserved:
        return f"in {subnet} this is {reserved[address]}"
    lower, upper = subnet.subnets()
    return "" if address in lower else f"Docker gives {upper} to containers without an address: take one of {lower}"
