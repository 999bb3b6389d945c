"""Settings that would act on restored versions: turned off in a bucket during a restore, and restored afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

from worker.buckets import settings
from worker.buckets.client import Client, md5_of, path, refused


class ActingPart(NamedTuple):
    """A part of the configuration: whether it acts on versions, and the value to use meanwhile; an empty one deletes it."""

    acts: Callable[[str], bool]
    meanwhile: Callable[[str], str]


def _without_rule(text: str) -> str:
    before, _, rest = text.partition("<Rule>")
    return before + rest.partition("</Rule>")[2]


def _notifies(text: str) -> bool:
    return any(f"{kind}Configuration>" in text for kind in ("Queue", "Topic", "CloudFunction"))


def _limits(text: str) -> bool:
    quota = json.loads(text or "{}")
    return bool(quota.get("quota") or quota.get("size"))


def _passes_over(text: str) -> bool:
    """Whether new objects, at least below some prefixes, get no id and would overwrite an object without an id."""
    return ">Suspended<" in text or "<Exclude" in text


ENABLED = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
_UNLIMITED = '{"quota":0,"size":0,"quotatype":"hard"}'
_NOTHING = '<NotificationConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></NotificationConfiguration>'
ACTING_PARTS = {
    "lifecycle": ActingPart(bool, lambda text: ""),
    "notification": ActingPart(_notifies, lambda text: _NOTHING),
    # Deleting it would remove its targets as well.
    "replication": ActingPart(
        lambda text: ">Enabled<" in text,
        lambda text: text.replace("<Status>Enabled</Status>", "<Status>Disabled</Status>"),
    ),
    "object-lock": ActingPart(lambda text: "<Rule>" in text, _without_rule),
    settings.QUOTA: ActingPart(_limits, lambda text: _UNLIMITED),
    "versioning": ActingPart(_passes_over, lambda text: ENABLED),
}


def acting(configuration: dict[str, str]) -> dict[str, str]:
    """The current values of the parts that must be off."""
    return {
        part: configuration[part]
        for part, acting_part in ACTING_PARTS.items()
        if part in configuration and acting_part.acts(configuration[part])
    }


def take_off(minio: Client, bucket: str, held: dict[str, str]) -> None:
    for part, text in held.items():
        set_part(minio, bucket, part, ACTING_PARTS[part].meanwhile(text))


def put_on(minio: Client, bucket: str, held: dict[str, str]) -> None:
    """Restores the parts as they were; the quota last, as it may be exceeded."""
    for part, text in held.items():
        set_part(minio, bucket, part, text)


def set_part(minio: Client, bucket: str, part: str, text: str) -> None:
    """Sets one part of a bucket's configuration; an empty text deletes it."""
    body = text.encode()
    headers = {"Content-MD5": md5_of(body)}
    if part == settings.QUOTA:
        minio.ask("PUT", "/minio/admin/v3/set-bucket-quota", {"bucket": bucket}, body=body)
        return
    method = "PUT" if text else "DELETE"
    answer = minio.ask(method, path(bucket), {part: ""}, headers=headers if text else {}, body=body, may_fail=True)
    if answer.status >= 300:
        raise refused(f"the {part} of the bucket {bucket} cannot be set", answer)
