"""Drives: what is in a host, and putting a blank one in the place of a dead one."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from converge.errors import REFUSED, Trouble
from converge.resources.filesystem import Filesystem
from converge.shell import sh
from converge.ssh.link import connect
from converge.ssh.root_shell import run_locked
from converge.ui.cli import confirm

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

PATIENCE = 180
"""Seconds that a cluster may take to see a new drive; it looks every 15."""

_LIST = """
lsblk -dPno NAME,TYPE,SIZE,SERIAL,MODEL,FSTYPE,LABEL,MOUNTPOINT
echo --
for link in /dev/disk/by-id/*; do [ -e "$link" ] && printf '%s %s\\n' "$(readlink -f "$link")" "$link"; done
"""


def disks(host: Host[Settings]) -> list[dict[str, str]]:
    """Every whole disk of a host: kernel name, by-id name, size, serial, what it holds, and which drive of the inventory it is."""
    import shlex

    named = [
        sh('printf "%s %s\\n" "$(readlink -f -- {})" {}', drive.device, drive.label) for drive in host.settings.drives
    ]
    link = connect(host.target)
    try:
        _, out, _ = link.send("\n".join([_LIST, "echo --", *named]), iter(()))
    finally:
        link.close()
    table, ids, wanted = out.decode(errors="replace").split("--\n")
    drives = dict(line.split(" ", 1) for line in wanted.splitlines())
    names: dict[str, str] = {}
    for line in ids.splitlines():
        device, _, name = line.partition(" ")
        if device not in names or "wwn-" in names[device]:
            names[device] = name
    disks_of_host = [dict(pair.split("=", 1) for pair in shlex.split(line)) for line in table.splitlines()]
    return [
        {key.lower(): value for key, value in disk.items()}
        | {"by_id": names.get(f"/dev/{disk['NAME']}", ""), "drive": drives.get(f"/dev/{disk['NAME']}", "")}
        for disk in disks_of_host
        if disk["TYPE"] in ("disk", "loop")
    ]


def show(host: Host[Settings], as_json: bool) -> None:
    """Print the disks of a host and which of them the inventory names."""
    rows = disks(host)
    if as_json:
        print(json.dumps({"host": host.name, "drives": rows}))
        return
    print(f"{host.name}:")
    for row in rows:
        holds = f"{row['fstype']} {row['label']}".strip() or "blank or unknown"
        print(
            f"  {row['drive'] or '-':8} {row['name']:10} {row['size']:>8}  {row['serial'] or 'no serial':20} {holds:20} {row['mountpoint'] or 'not mounted'}  {row['by_id']}"
        )


@contextmanager
def replacing(host: Host[Settings], label: str, yes: bool, command: str) -> Iterator[None]:
    """Let the blank drive that is in place now become the new one in the deploy within, if that is agreed to.

    Refused while another drive is away or heals: the cluster must be able to lose this one. The record of the drive
    before stays until the new one is made, and a deploy that does not make it takes the permission along.
    """
    drive = next((known_drive for known_drive in host.settings.drives if known_drive.label == label), None)
    if drive is None:
        known = ", ".join(known_drive.label for known_drive in host.settings.drives)
        raise Trouble(
            f"there is no drive {label}",
            where=host.name,
            why=f"drives are {known}",
            untouched="nothing was changed",
            hint=f"inv drives.list --host {host.name}",
        )
    _may_be_replaced(host, label)
    print(
        f"{host.name}: {label} is {drive.device}; a blank drive there becomes the new {label}, and MinIO heals onto it.",
        flush=True,
    )
    confirm(f"Type {host.name} to go on: ", yes, word=host.name)
    new = Filesystem(drive.device, label)
    mounted = sh("! findmnt -nr --mountpoint {} >/dev/null", drive.path)
    status, output = run_locked(
        host.target,
        command,
        f"{mounted} || {{ echo 'it is still mounted: pull the drive, or umount it'; exit 1; }}{new.replacement}",
    )
    if status:
        raise Trouble(
            f"{label} was not replaced",
            where=host.name,
            why=output,
            untouched="nothing was changed",
            hint=f"inv drives.list --host {host.name}; put a blank drive where {drive.device} is, then the same again",
            code=REFUSED,
        )
    try:
        yield
    except BaseException:
        with suppress(Trouble):
            run_locked(host.target, command, new.no_replacement)
        raise


def _may_be_replaced(host: Host[Settings], label: str) -> None:
    """Ask the cluster whether it can do without the node of this drive, and whether no other drive is away."""
    from runbook.status import of_host

    status = of_host(host, [])
    others = [drive.label for drive in status.drives if drive.label != label and (drive.healing or drive.problem)]
    if others:
        raise Trouble(
            f"{label} cannot be replaced now",
            where=host.name,
            why=f"{' and '.join(others)} {'is' if len(others) == 1 else 'are'} away or healing: one at a time",
            untouched="nothing was changed",
            hint=f"inv status --host {host.name}; when both are dead: docs/runbook.md, Two drives are dead",
            code=REFUSED,
        )


def follow_healing(host: Host[Settings]) -> None:
    """Print the progress of healing until the cluster says that no drive heals."""
    from roles.minio.admin import admin
    from roles.minio.role import api_of

    link, api, begun, calm = connect(host.target), api_of(host), time.monotonic(), 0
    try:
        while calm < 3:
            info = json.loads(api.read(link, lambda client: admin(client, "GET", "info")))
            drives = [drive for server in info.get("servers") or [] for drive in server.get("drives") or []]
            healing = [drive for drive in drives if drive.get("healing")]
            bad = [drive for drive in drives if drive.get("state") not in ("ok", None)]
            calm = 0 if healing or bad else calm + 1
            for drive in healing:
                progress = drive.get("heal_info") or {}
                print(
                    f"  healing: {progress.get('objects_healed', progress.get('items_healed', 0))} objects, {progress.get('bytes_done', 0)} bytes, {time.monotonic() - begun:.0f} s",
                    flush=True,
                )
            if bad and time.monotonic() - begun > PATIENCE and not healing:
                raise Trouble(
                    "the new drive is not taken up",
                    where=host.name,
                    why=f"after {PATIENCE} s the cluster still says {', '.join(str(drive.get('state')) for drive in bad)}",
                    untouched="the drive is formatted and mounted; no data was lost",
                    hint=f"inv logs --host {host.name}",
                )
            if bad:
                print(
                    f"  waiting: {', '.join(str(drive.get('state')) for drive in bad)}, {time.monotonic() - begun:.0f} s",
                    flush=True,
                )
            gc.collect()
            time.sleep(5)
    finally:
        link.close()
    print(f"{host.name}: healed, all {len(drives)} drives are well")
