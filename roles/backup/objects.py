"""The options of `inv restore` for objects of a bucket, and the lines of their plan."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converge.errors import Trouble
from converge.record import dataclass
from converge.ui.lines import say
from worker.contract import Request
from worker.size import human

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings


MORE = ("iam", "bucket-config")
"""What can be restored besides objects, if it is absent: users and policies, the configuration of buckets."""


@dataclass(frozen=True)
class Objects:
    """The options of `inv restore` for buckets."""

    buckets: list[str]
    prefix: str = ""
    key: str = ""
    exact: bool = False
    at: str = ""
    hold_lifecycle: bool = False
    new_ids: bool = False
    more: tuple[str, ...] = ()

    def asked(self, host: Host[Settings], request: Request, service: bool) -> None:
        """Writes them into the request; a restore is of buckets, of something else, or of a whole set."""
        again = f"inv restore latest --bucket NAME --host {host.name}"
        for wrong, what in (
            (
                not self.buckets and bool(self.prefix or self.key or self.at),
                "--prefix, --key and --at belong to --bucket NAME",
            ),
            (bool(self.prefix and self.key), "--prefix is for many keys, --key for one: give one of them"),
            (
                bool(request.databases) or service,
                "--bucket and its like are for objects, without --database and --service",
            ),
            (bool(self._strange), f"--with {','.join(self._strange)} is not known: there are {', '.join(MORE)}"),
        ):
            if wrong:
                raise Trouble(what, host.name, untouched="nothing was changed", hint=again)
        request.buckets, request.prefix, request.key, request.exact = self.buckets, self.prefix, self.key, self.exact
        request.new_ids = self.new_ids
        request.at, request.hold_lifecycle, request.more = moment(self.at, host), self.hold_lifecycle, list(self.more)

    def browsed(self, host: Host[Settings], request: Request) -> None:
        """Writes the bucket to look into, and the beginning of its keys, into the request."""
        if len(self.buckets) != 1:
            what = "--prefix belongs to --bucket NAME" if not self.buckets else "--bucket takes one bucket here"
            again = (
                f"inv backup.{request.ask} {request.set} --bucket {(self.buckets or ['NAME'])[0]} --host {host.name}"
            )
            raise Trouble(what, host.name, untouched="nothing was changed", hint=again)
        request.buckets, request.prefix = self.buckets, self.prefix

    @property
    def _strange(self) -> list[str]:
        return [option for option in self.more if option not in MORE]

    def of_a_dump(self, host: Host[Settings], path: Path) -> Trouble:
        """A dump of a database has no objects."""
        return Trouble(
            f"{path} is a dump of a database",
            host.name,
            "--bucket is for sets",
            "nothing was sent or changed",
            f"inv backup.list --host {host.name}",
        )


def words_of(text: str) -> list[str]:
    """The words of a comma list; names of buckets have no commas."""
    return [word for word in text.split(",") if word]


def moment(text: str, host: Host[Settings]) -> str:
    """A time in the format of MinIO's listings. Without an offset it is in UTC, like all times on the screen."""
    if not text:
        return ""
    try:
        time = datetime.fromisoformat(text)
        time = time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Trouble(
            f"--at {text} is no moment",
            host.name,
            untouched="nothing was changed",
            hint='--at "2026-11-27 17:30", in UTC; or with an offset, 2026-11-27T18:30+01:00',
        ) from None
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def asked_for(request: Request) -> str:
    """The part of the buckets that a restore is limited to, as it was understood; empty for all of them."""
    parts = [f"the key {printable(request.key)}"] if request.key else []
    parts += [f"keys that begin with {printable(request.prefix)}"] if request.prefix else []
    parts += [f"as they were at {request.at[:19].replace('T', ' ')} UTC"] if request.at else []
    return ", ".join(parts)


def show_objects(bucket: dict[str, Any]) -> None:
    """The lines for a bucket in the plan of a restore."""
    if "refused" in bucket:
        say(f"  ! {bucket['bucket']}  STAYS AS IT IS: {bucket['refused']}")
        return
    mark, new = ("~", "") if bucket["there"] else ("+", "; there is no such bucket now")
    of = f" of {bucket['of']}" if bucket["of"] != bucket["bucket"] else ""
    say(
        f"  {mark} {bucket['bucket']}  {bucket['insert']} versions{of}, {human(bucket['bytes'])}, of {bucket['keys']} keys{new}"
    )
    if bucket["versioned"] and bucket["new_ids"]:
        say(
            "      they come in their order above what is there, with new ids and dates; the list of these is kept on the host"
        )
    elif bucket["versioned"]:
        say(f"      {bucket['current']} keys get the version of the set on top; what is there now stays beneath it")
    elif bucket["replaced"]:
        say(
            f"      {bucket['replaced']} objects are replaced, and kept in the bucket {bucket['kept']}: it has no versions"
        )
    if bucket["exact"]:
        say(
            f"      {bucket['hides']} keys that the set does not have "
            + (
                "get a delete marker"
                if bucket["versioned"]
                else f"are removed, and kept in the bucket {bucket['kept']}"
            )
        )
    if bucket["suspended"]:
        say("      its versioning, which is suspended or has exceptions, is on meanwhile: nothing is replaced in place")
    if bucket["off"]:
        say(f"      off meanwhile: {', '.join(bucket['off'])}")


def show_versions(answer: dict[str, Any], asked: Objects) -> None:
    """The versions that a set has of some keys, by key and the newest first."""
    if not answer["objects"]:
        keys = f"no key that begins with {printable(asked.prefix)}" if asked.prefix else "no object"
        say(f"  {asked.buckets[0]} has {keys} in {answer['id']}")
    for version in answer["objects"]:
        kind = "delete marker" if version.get("marker") else human(version["size"])
        note = "  NOT IN THE SET: " + version["unreadable"] if "unreadable" in version else ""
        note += ", which was accepted" if "accepted" in version else ""
        mark = "*" if version.get("latest") else " "
        print(
            f"{mark} {version['at'][:19].replace('T', ' ')}  {kind:>13}  {printable(version['key'])}  {version['id']}{note}"
        )
    if answer["more"]:
        say(f"  and {answer['more']} versions more: --prefix asks for fewer")


def printable(key: str) -> str:
    """A key on one line: control characters are escaped."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in key)
