"""What a person asks of the objects of a bucket, and how the plan for them reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converge.errors import Trouble
from converge.ui.lines import say
from worker.contract import Request
from worker.size import human

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings


@dataclass(frozen=True)
class Objects:
    """The words of `inv restore` that are of buckets."""

    bucket: str
    prefix: str
    key: str
    exact: bool

    def asked(self, host: Host[Settings], request: Request, service: bool) -> None:
        """Writes them into the request; one restore is of one bucket, or of something else."""
        again = f"inv restore latest --bucket NAME --host {host.name}"
        for wrong, what in (
            (not self.bucket, "--prefix, --key and --exact belong to --bucket NAME"),
            (bool(self.prefix and self.key), "--prefix is for many keys, --key for one: give one of them"),
            (bool(request.databases) or service, "--bucket is for objects alone, without --database and --service"),
        ):
            if wrong:
                raise Trouble(what, host.name, untouched="nothing was changed", hint=again)
        request.bucket, request.prefix, request.key, request.exact = self.bucket, self.prefix, self.key, self.exact

    def of_a_dump(self, host: Host[Settings], path: Path) -> Trouble:
        """A dump of a database has no objects."""
        return Trouble(
            f"{path} is a dump of a database",
            host.name,
            "--bucket is for sets",
            "nothing was sent or changed",
            f"inv backup.list --host {host.name}",
        )


def show_objects(told: dict[str, Any]) -> None:
    """What becomes of a bucket, in the plan of a restore."""
    mark, new = ("~", "") if told["there"] else ("+", "; there is no such bucket now")
    of = f" of {told['of']}" if told["of"] != told["bucket"] else ""
    say(
        f"  {mark} {told['bucket']}  {told['insert']} versions{of}, {human(told['bytes'])}, of {told['keys']} keys{new}"
    )
    if told["versioned"]:
        say(f"      {told['current']} keys get the version of the set on top; what is there now stays beneath it")
    elif told["replaced"]:
        say(f"      {told['replaced']} objects are replaced, and kept in the bucket {told['kept']}: it has no versions")
    if told["exact"]:
        say(
            "      keys that the set does not have get a delete marker, or are kept and removed where there are no versions"
        )
    if told["off"]:
        say(f"      off meanwhile: {', '.join(told['off'])}")


def show_versions(found: dict[str, Any]) -> None:
    """The versions that a set has of some keys, by key and the newest first."""
    for one in found["objects"]:
        kind = "delete marker" if one.get("marker") else human(one["size"])
        note = "  NOT IN THE SET: " + one["unreadable"] if "unreadable" in one else ""
        mark = "*" if one.get("latest") else " "
        print(f"{mark} {one['at'][:19].replace('T', ' ')}  {kind:>13}  {printable(one['key'])}  {one['id']}{note}")
    if found["more"]:
        say(f"  and {found['more']} versions more: --prefix asks for fewer")


def printable(key: str) -> str:
    """A key on one line: what would move the cursor is written as an escape."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in key)
