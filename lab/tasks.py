"""The lab's commands: throwaway hosts, and what can happen to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converge.errors import Trouble
from converge.ui.cli import ROOT, command
from lab.systems import DEFAULT, NAMES

if TYPE_CHECKING:
    from invoke.context import Context

    from converge.inventory.hosts import Host
    from lab.images import Recipe
    from roles.settings.model import Settings

HOST = {"host": "name of the lab host"}
DRIVE = HOST | {"drive": "number of the drive, 1 to 4"}


@command(
    help=HOST
    | {
        "system": f"{', '.join(NAMES)}; for a new host, default {DEFAULT}",
        "cold": "make the images anew, as on a machine that never had a lab",
    }
)
def up(c: Context, host: str = "lab", system: str = "", cold: bool = False) -> None:
    """Make and start a throwaway host, with four blank drives, and build the images that it will run."""
    from converge.inventory.hosts import names
    from lab import hosts, images, records, stock

    if host not in names(ROOT)[0]:
        why = "the lab's hosts stand beside lab in inventory/hosts.yml"
        raise Trouble(f"the inventory has no host {host}", why=why, untouched="nothing was made", hint="add it there")
    hosts.up(host, system, cold)
    lab_host = _load_host(host)
    records.own_secrets(lab_host)
    stock.put_into(host, [images.make(recipe, cold) for recipe in _recipes(lab_host)])
    ports = hosts.published(host)
    print(f"{host} is up: ssh on 127.0.0.1:{ports[22]}, S3 on :{ports[9000]}, console on :{ports[9001]}")


def _load_host(host: str) -> Host[Settings]:
    """The host with its settings; its secrets may not be there yet."""
    from converge.inventory.hosts import load
    from roles.settings.model import Settings

    (lab_host,) = load(ROOT, host, Settings, (), False)
    return lab_host


def _recipes(lab_host: Host[Settings]) -> list[Recipe]:
    """The recipes of the images that this host's settings let the lab build."""
    from lab import images

    return [images.of_row(row) for row in lab_host.settings.images.values() if row.lab]


@command(help=HOST)
def down(c: Context, host: str = "lab") -> None:
    """Remove a throwaway host and its drives."""
    from lab import hosts

    print(f"{host} is gone, with its drives" if hosts.down(host) else f"there was no {host}")


@command()
def status(c: Context) -> None:
    """List this clone's lab hosts, their ports and drives."""
    from lab import hosts

    lab_hosts = hosts.status()
    for lab_host in lab_hosts:
        print(lab_host.line())
    if not lab_hosts:
        print("no lab host; make one: inv lab.up")


@command(help=HOST)
def reboot(c: Context, host: str = "lab") -> None:
    """Reboot a lab host and wait until it is back."""
    from lab import hosts

    print(f"{host} is back after {hosts.reboot(host)} s")


@command(help=HOST)
def power_cut(c: Context, host: str = "lab") -> None:
    """Pull the plug of a lab host; `inv lab.up` switches it on again."""
    from lab import hosts

    hosts.power_cut(host)
    print(f"{host} is off; on again: inv lab.up --host {host}")


@command(help=DRIVE)
def pull_drive(c: Context, drive: str, host: str = "lab") -> None:
    """Let a drive die: EIO at once, then it is gone."""
    from lab import drives

    print(f"drive {drive} of {host} was pulled ({drives.pull_drive(host, drives.number(drive))} is gone)")


@command(help=DRIVE)
def insert_drive(c: Context, drive: str, host: str = "lab") -> None:
    """Put a new blank drive into an empty bay."""
    from lab import drives

    print(f"a blank drive {drive} is in {host}: /dev/{drives.insert_drive(host, drives.number(drive))}")


@command(help=DRIVE)
def put_back_drive(c: Context, drive: str, host: str = "lab") -> None:
    """Put a pulled drive back, with all that is on it."""
    from lab import drives

    print(f"drive {drive} is back in {host}: /dev/{drives.put_back_drive(host, drives.number(drive))}")


@command(help=HOST | {"first": "a drive", "second": "another drive"})
def swap_drives(c: Context, first: str, second: str, host: str = "lab") -> None:
    """Swap two drives; their kernel names change at the next reboot."""
    from lab import drives

    drives.swap_drives(host, drives.number(first), drives.number(second))
    print(f"drives {first} and {second} of {host} are swapped from the next reboot on: inv lab.reboot --host {host}")
