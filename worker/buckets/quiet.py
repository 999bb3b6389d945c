"""What would act on a version that is put back: taken off a bucket while it is restored, and put on again as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

from worker.buckets import settings
from worker.buckets.client import Client, md5_of, path, refused


class Way(NamedTuple):
    """Whether a part acts on versions, and what stands in its place meanwhile; nothing is a deletion."""

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
    """Whether what is put there now, or beneath some prefixes, gets no id and would replace what has none in place."""
    return ">Suspended<" in text or "<Exclude" in text


ENABLED = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
_UNLIMITED = '{"quota":0,"size":0,"quotatype":"hard"}'
_NOTHING = '<NotificationConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></NotificationConfiguration>'
WAYS = {
    "lifecycle": Way(bool, lambda text: ""),
    "notification": Way(_notifies, lambda text: _NOTHING),
    # To delete it would take its targets away as well.
    "replication": Way(
        lambda text: ">Enabled<" in text,
        lambda text: text.replace("<Status>Enabled</Status>", "<Status>Disabled</Status>"),
    ),
    "object-lock": Way(lambda text: "<Rule>" in text, _without_rule),
    settings.QUOTA: Way(_limits, lambda text: _UNLIMITED),
    "versioning": Way(_passes_over, lambda text: ENABLED),
}


def acting(configuration: dict[str, str]) -> dict[str, str]:
    """The parts of a bucket's configuration that have to be off, as they are now."""
    return {
        part: configuration[part]
        for part, way in WAYS.items()
        if part in configuration and way.acts(configuration[part])
    }


def take_off(minio: Client, bucket: str, held: dict[str, str]) -> None:
    for part, text in held.items():
        set_part(minio, bucket, part, WAYS[part].meanwhile(text))


def put_on(minio: Client, bucket: str, held: dict[str, str]) -> None:
    """As it was, whatever it is now; the quota last, for it may be full."""
    for part, text in held.items():
        set_part(minio, bucket, part, text)


def set_part(minio: Client, bucket: str, part: str, text: str) -> None:
    """One part of a bucket's configuration; no text deletes it."""
    body = text.encode()
    headers = {"Content-MD5": md5_of(body)}
    if part == settings.QUOTA:
        minio.ask("PUT", "/minio/admin/v3/set-bucket-quota", {"bucket": bucket}, body=body)
        return
    method = "PUT" if text else "DELETE"
    answer = minio.ask(method, path(bucket), {part: ""}, headers=headers if text else {}, body=body, may_fail=True)
    if answer.status >= 300:
        raise refused(f"the {part} of the bucket {bucket} cannot be set", answer)
