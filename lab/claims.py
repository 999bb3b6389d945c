"""What hosts claim of the machine that all clones share: loopback ports and loop devices."""

from __future__ import annotations

import json
import socket
from typing import Any

from converge.errors import Trouble
from lab import clone, containers

# Below 60 the operator's own programs take theirs; a host has four drives and four spare numbers, because the
# replacement of a drive that is still held gets another name, as on a real machine.
FIRST_LOOP, LOOPS_OF_A_HOST = 64, 8
# Below the ephemeral range, so that no outgoing connection sits on a port when a host starts again.
PORTS = range(20000, 32000)


def ports(client: Any, guests: tuple[int, ...]) -> dict[int, int]:
    """A free loopback port for each guest port; stopped hosts keep theirs."""
    taken = {port for container in containers.everyones(client) for port in published(container).values()}
    free = (port for port in PORTS if port not in taken and _is_free(port))
    return dict(zip(guests, free, strict=False))


def published(container: Any) -> dict[int, int]:
    """Guest port to loopback port, as the container was made."""
    bindings = container.attrs["HostConfig"]["PortBindings"] or {}
    return {int(guest.split("/")[0]): int(where[0]["HostPort"]) for guest, where in sorted(bindings.items())}


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def loops(client: Any, attached: dict[int, str]) -> list[int]:
    """Loop numbers that neither the kernel uses nor another host claims."""
    claimed = {
        number
        for container in containers.everyones(client)
        for number in json.loads(container.labels[containers.LOOPS])
    }
    return free_loops(claimed | set(attached))


def free_loops(taken: set[int]) -> list[int]:
    """The first block of numbers in which none is taken."""
    for first in range(FIRST_LOOP, 1024, LOOPS_OF_A_HOST):
        block = range(first, first + LOOPS_OF_A_HOST)
        if not taken.intersection(block):
            return list(block)
    raise Trouble("no loop devices are left for another lab host", hint="inv lab.status; losetup -a")


def attached_loops(client: Any, image: str) -> dict[int, str]:
    """Every loop device in use on the Engine's machine, and its file."""
    lines = (line.split(" ", 1) for line in containers.firmware(client, image, "loops").splitlines())
    return {int(number): file for number, file in lines}


def lost(attached: dict[int, str], living: set[str], family: str) -> list[int]:
    """Loop devices that stay attached though their host is gone or, in any clone, their file is."""
    return [number for number, file in attached.items() if _is_lost(file, living, family)]


def _is_lost(file: str, living: set[str], family: str) -> bool:
    image = file.rpartition("/")[2]
    owner = image.partition(".")[0]
    if image.endswith(" (deleted)"):
        return owner.startswith(clone.EVERY_FAMILY)
    return owner.startswith(family + "-") and owner not in living


def sweep(client: Any, image: str) -> dict[int, str]:
    """Detach the loop devices that hosts left behind; return those that stay attached."""
    attached = attached_loops(client, image)
    living = {host.name for host in containers.ours(client)}
    gone = lost(attached, living, clone.family())
    if not gone:
        return attached
    containers.firmware(client, image, "free", *map(str, gone))
    return attached_loops(client, image)
