"""What `inv buckets.du` shows: the objects, versions and bytes of buckets, counted by MinIO's scanner or by listing."""

from __future__ import annotations

import difflib
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from converge.errors import Trouble
from converge.record import dataclass
from converge.shell import quote
from converge.ssh.link import connect
from converge.ui.durations import spoken
from converge.ui.lines import say
from roles.minio.admin import admin
from roles.minio.names import bucket_names
from roles.minio.role import api_of
from roles.minio.status import age
from worker.size import human

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

SILENCE = 10.0
"""Seconds between two lines of progress of a listing."""


@dataclass
class Usage:
    """The contents of a bucket: objects (also those with only old versions), their versions, and the bytes of all."""

    objects: int = 0
    versions: int = 0
    delete_markers: int = 0
    bytes: int = 0


Counted = dict[str, Usage | None]
"""The usage of each bucket; None of one that was not counted yet."""
_COUNTS = ("objectsCount", "versionsCount", "deleteMarkersCount", "size")


def show(host: Host[Settings], bucket: str, prefix: str, exact: bool, as_json: bool) -> None:
    """From the scanner's last round, or, with `exact` or a prefix, by listing every version."""
    if prefix and not bucket:
        raise Trouble(
            "a prefix lies within a bucket",
            host.name,
            "--prefix was given without --bucket",
            "nothing was asked",
            f"inv buckets.du --bucket NAME --prefix {quote(prefix)} --host {host.name}",
        )
    listed = exact or bool(prefix)
    link = connect(host.target)
    try:
        there = api_of(host).read(link, bucket_names)
        must_be_there(host, bucket, there)
        ask = partial(_listed, prefix=prefix) if listed else _scanned
        at, counted = api_of(host).read(link, partial(ask, names=[bucket] if bucket else there))
    finally:
        link.close()
    if as_json:
        usage = {name: counts and asdict(counts) for name, counts in counted.items()}
        print(json.dumps({"host": host.name, "listed": listed, "at": at, "prefix": prefix, "buckets": usage}))
        return
    for line in lines(host.name, counted, "listed just now" if listed else _age(at)):
        say(line)


def must_be_there(host: Host[Settings], bucket: str, there: Sequence[str]) -> None:
    if bucket and bucket not in there:
        near = difflib.get_close_matches(bucket, there, 1)
        raise Trouble(
            f"there is no bucket {bucket}",
            host.name,
            f"there are {', '.join(there) or 'none'}",
            "nothing was counted or deleted",
            f"the same with {near[0]}" if near else f"inv buckets.list --host {host.name}",
        )


def _scanned(client: Any, names: Sequence[str]) -> tuple[str, Counted]:
    return scanned(json.loads(admin(client, "GET", "datausageinfo")), names)


def scanned(answer: Mapping[str, Any], names: Sequence[str]) -> tuple[str, Counted]:
    """When the scanner ended its last round (empty before the first), and its counts."""
    at, sizes = answer.get("lastUpdate") or "", answer.get("bucketsUsageInfo") or {}
    return "" if at.startswith("0001-") else at, {
        name: Usage(*(sizes[name].get(key, 0) for key in _COUNTS)) if name in sizes else None for name in names
    }


def _listed(client: Any, names: Sequence[str], prefix: str) -> tuple[str, Counted]:
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return at, {name: _count(name, client.list_objects(name, prefix, True, include_version=True)) for name in names}


def _count(bucket: str, versions: Iterable[Any]) -> Usage:
    """Count the versions of a listing, which has those of one object together."""
    usage, last, spoke = Usage(), None, time.monotonic()
    for version in versions:
        usage.objects += version.object_name != last
        usage.delete_markers += version.is_delete_marker
        usage.versions += not version.is_delete_marker and version.version_id not in (
            None,
            "null",
        )  # as the scanner counts
        usage.bytes += version.size or 0
        last = version.object_name
        if time.monotonic() - spoke > SILENCE:
            print(f"{bucket}: {usage.versions} versions so far", file=sys.stderr, flush=True)
            spoke = time.monotonic()
    return usage


def _age(at: str) -> str:
    """How old the scanner's numbers are."""
    ago = age(at)
    if ago is None:
        return "MinIO's scanner has not ended a round yet: --exact lists them now"
    return f"counted by MinIO's scanner {spoken(ago)} ago; --exact lists them now"


def lines(host: str, counted: Counted, how: str) -> Iterator[str]:
    """The screen."""
    yield f"{host}: {how}"
    wide = max(map(len, ("bucket", *counted)))
    yield f"  {'bucket':{wide}}  {'objects':>10}  {'versions':>10}  {'markers':>10}  {'size':>10}"
    for name, usage in counted.items():
        if usage is None:
            yield f"  {name:{wide}}  not counted yet"
        else:
            counts = f"{usage.objects:>10}  {usage.versions:>10}  {usage.delete_markers:>10}"
            yield f"  {name:{wide}}  {counts}  {human(usage.bytes):>10}"
