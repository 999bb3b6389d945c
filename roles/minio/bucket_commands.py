"""Lists the buckets of a cluster; adds a bucket to the settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from converge.errors import Trouble
from converge.inventory.edit import with_row
from converge.inventory.layers import descend
from converge.record import dataclass
from converge.ssh.link import connect
from converge.ui.lines import say
from roles.minio.admin import admin, unzipped
from roles.minio.bucket_state import bucket_state
from roles.minio.kms import BUCKET as CANARY
from roles.minio.names import bucket_names
from roles.minio.role import api_of
from roles.minio.usage import scanned
from roles.settings.changing import NOTHING, Change, carry_out, rows
from roles.settings.fields import BucketName
from worker.size import human

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

IN_SETTINGS, NOT_DEPLOYED, UNMANAGED = "in settings", "not deployed", "unmanaged"
OF_STOWAGE = "made by Stowage"


@dataclass(frozen=True)
class Row:
    """A bucket: its versions and retention, its size at the last count, and whether the settings name it."""

    name: str
    versioning: str
    retention: str
    lifecycle: str
    quota: str
    objects: int | None
    bytes: int | None
    state: str


def show(host: Host[Settings], as_json: bool) -> None:
    link = connect(host.target)
    try:
        table = api_of(host).read(link, lambda client: _read(host, client))
    finally:
        link.close()
    if as_json:
        print(json.dumps({"host": host.name, "buckets": [asdict(row) for row in table]}))
        return
    for line in lines(host.name, table):
        say(line)


def _read(host: Host[Settings], client: Any) -> list[Row]:
    there = bucket_names(client)
    files = unzipped(admin(client, "GET", "export-bucket-metadata")) if there else {}
    _, counted = scanned(json.loads(admin(client, "GET", "datausageinfo")), there)
    wanted = [bucket.name for bucket in host.settings.buckets]
    targets = host.settings.backup.targets if host.settings.backup else []
    ours = {CANARY, *(target.bucket for target in targets if target.kind == "stack")}
    table = []
    for name in sorted({*there, *wanted}):
        if name not in there:
            table.append(Row(name, "", "", "", "", None, None, NOT_DEPLOYED))
            continue
        state, usage = bucket_state(name, files), counted.get(name)
        whose = IN_SETTINGS if name in wanted else OF_STOWAGE if name in ours else UNMANAGED
        kept = (state["versioning"], state["retention"], state["lifecycle"], state["quota"])
        table.append(Row(name, *kept, usage.objects if usage else None, usage.bytes if usage else None, whose))
    return table


def lines(host: str, table: list[Row]) -> Iterator[str]:
    """The screen: a bucket a line, its rules below it."""
    if not table:
        yield f"{host}: there is no bucket; inv buckets.create NAME --host {host}"
        return
    yield f"{host}:"
    wide = max(len("bucket"), *(len(row.name) for row in table))
    yield f"  {'bucket':{wide}}  {'versions':8}  {'objects':>10}  {'size':>10}  "
    for row in table:
        size = "-" if row.bytes is None else human(row.bytes)
        objects = "-" if row.objects is None else str(row.objects)
        yield f"  {row.name:{wide}}  {row.versioning:8}  {objects:>10}  {size:>10}  {row.state}".rstrip()
        more = [row.lifecycle, f"locked {row.retention}" if row.retention != "none" else ""]
        more += [f"quota {row.quota}" if row.quota != "none" else ""]
        yield from (f"  {'':{wide}}    {text}" for text in more if text not in ("", "none"))


def create(
    host: Host[Settings], name: str, retention_days: int, versioning: bool, quota: str, yes: bool, as_json: bool
) -> None:
    """Add a bucket to the settings; the next deploy makes it."""
    again = f"inv buckets.create NAME --retention-days 30 --host {host.name}"
    try:
        TypeAdapter(BucketName).validate_python(name)
    except ValidationError as error:
        why = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise Trouble(f"{name!r} cannot be the name of a bucket", host.name, why, NOTHING, again) from None
    if not 0 <= retention_days <= 36500:
        why = "expected 1 to 36500; without it objects are kept until somebody deletes them"
        raise Trouble(f"--retention-days is {retention_days}", host.name, why, NOTHING, again)
    for at, bucket in enumerate(host.settings.buckets):
        if bucket.name == name:
            where = list(descend(host.tree, ("buckets", at)))[-1].origin
            hint = f"inv buckets.list --host {host.name}; its settings are changed in {where}"
            raise Trouble(f"there is a bucket {name} already", where, "", NOTHING, hint)
    row: dict[str, Any] = {"name": name}
    if versioning:
        row["versioning"] = True
    if retention_days:
        rule = {"id": "retention", "expire_days": retention_days}
        # A deleted object, by the rule or by a person, becomes an old version first.
        row["lifecycle"] = [rule | ({"expire_noncurrent_days": retention_days} if versioning else {})]
    if quota:
        row["quota"] = quota
    change = Change(
        host, "buckets", lambda text, of_json: with_row(text, ["buckets"], row, of_json), rows("buckets", row)
    )
    carry_out(change, yes, as_json)
