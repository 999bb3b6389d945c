"""The commands that span roles, and those of machines and their drives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invoke.collection import Collection

from converge.ui.cli import ROOT, command, command_line, end
from roles.settings.hosts import hosts, one_host

if TYPE_CHECKING:
    from invoke.context import Context


@command(at_once=True, help={"html": "write it into this file as well, as a page with charts of the last day"})
def status(c: Context, host: str = "", json: bool = False, html: str = "") -> None:
    """The screen to open first: drives, nodes, quorum, endpoints, buckets, databases, drift, and what to do next."""
    from roles.deploying import roles_of
    from runbook.status import show

    chosen = hosts(c, host)
    end(show(chosen, {each.name: roles_of(each, ()).roles for each in chosen}, json, html))


@command(
    positional=["service"],
    help={"service": "a container (default: all)", "lines": "how many", "since": "such as 42m or a time"},
)
def logs(
    c: Context, service: str = "", host: str = "", lines: int = 100, follow: bool = False, since: str = ""
) -> None:
    """Show the logs of a service, or of all."""
    from runbook.logs import logs

    logs(one_host(c, host), service, lines, follow, since)


@command(
    name="search",
    at_once=True,
    help={
        "query": "in the language of the store, such as '{source=\"minio\"} api.statusCode:403'",
        "since": "such as 42m, 1h or 7d",
        "limit": "at most so many lines, the newest",
    },
)
def logs_search(
    c: Context, query: str, host: str = "", since: str = "1h", limit: int = 200, json: bool = False
) -> None:
    """Search the logs of all containers, of MinIO's requests and of the host, in the store that keeps them."""
    from runbook.log_search import search

    search(one_host(c, host), query, since, limit, json)


@command(help={"service": "minio (all nodes together), nginx, postgres, or a service of the inventory"})
def restart(c: Context, service: str, host: str = "") -> None:
    """Restart a service, and wait until data passes through it again."""
    from runbook.services import restart

    restart(one_host(c, host), service, command_line())


@command(at_once=True, help={"lines": "how many"})
def history(c: Context, host: str = "", lines: int = 20, json: bool = False) -> None:
    """Show which deploys a host has seen: when, by whom, from which commit."""
    from runbook.history import history

    for each in hosts(c, host):
        history(each, lines, json)


@command
def unlock(c: Context, host: str = "", yes: bool = False) -> None:
    """Show who holds the lock of a host; ask, then end what holds it."""
    from runbook.history import unlock

    unlock(one_host(c, host), yes)


@command(at_once=True)
def inventory(c: Context, host: str = "", set: list[str] | None = None, json: bool = False) -> None:
    """Show every setting of a host and where it came from."""
    from runbook.inventory import show

    for each in hosts(c, host, set, secrets=False):
        show(each, json)


@command(name="list", at_once=True)
def drives_list(c: Context, host: str = "", json: bool = False) -> None:
    """Show the drives of a host, with size, serial and content."""
    from runbook.drive import show

    for each in hosts(c, host):
        show(each, json)


@command(name="replace", help={"label": "the drive that is replaced"})
def drives_replace(c: Context, label: str, host: str = "", yes: bool = False) -> None:
    """Put a blank drive in the place of a dead one, and follow the healing to its end."""
    from roles.deploying import deploy
    from runbook import drive

    chosen = one_host(c, host)
    with drive.replacing(chosen, label, yes, command_line()):
        deploy(c, chosen.name, "", None, check=False, diff=True, full=False, yes=yes, json=False)
    drive.follow_healing(chosen)


@command(
    name="trust",
    help={
        "name": "a host, a group, or several with commas",
        "address": "where a new machine is",
        "port": "its SSH port",
    },
)
def host_trust(c: Context, name: str, address: str = "", port: int = 0, yes: bool = False) -> None:
    """Show the fingerprint of a host's key and pin it."""
    from runbook.machines import newcomer
    from runbook.trust import trust

    if address:
        trust(newcomer(ROOT, name, address, port=port).target, yes)
        return
    for each in hosts(c, name, secrets=False):
        trust(each.target, yes)


@command(
    name="add",
    help={
        "name": "its name in the inventory",
        "address": "where it is",
        "user": "who logs in",
        "port": "SSH port",
        "key": "private key file",
        "group": "what it is to be: a group of inventory/hosts.yml",
        "sudo-password": "where it is: file:PATH, env:NAME or command:TEXT",
    },
)
def host_add(
    c: Context,
    name: str,
    address: str,
    user: str = "",
    port: int = 0,
    key: str = "",
    group: str = "",
    sudo_password: str = "",
) -> None:
    """Read a new machine and write its host file and secrets."""
    from runbook.machines import add, newcomer

    add(ROOT, newcomer(ROOT, name, address, user, port, key, group, sudo_password))


@command(
    name="erase",
    help={
        "bucket": "its name",
        "prefix": "an object, or a folder with / at its end",
        "begins": "also what goes on after the prefix without a /",
    },
)
def buckets_erase(
    c: Context,
    bucket: str,
    prefix: str,
    host: str = "",
    begins: bool = False,
    check: bool = False,
    yes: bool = False,
    json: bool = False,
) -> None:
    """Delete objects for good, all versions, and say what else still holds copies."""
    from roles.minio.to_erase import Asked
    from runbook.erase import erase

    erase(one_host(c, host), Asked(bucket, prefix, begins), check, yes, json)


COMMANDS = (status, restart, history, unlock, inventory)
LOGS = (logs_search,)
DRIVES = (drives_list, drives_replace)
ERASE = (buckets_erase,)
HOSTS = Collection("host", host_add, host_trust)
