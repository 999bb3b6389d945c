"""When keys end: the days and times of the settings in MinIO's format, and the keys that end soon."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roles.settings.model import Settings

SOON = timedelta(days=14)


def moment(text: str) -> str:
    """A day or a time in MinIO's format, in UTC: 2027-12-31T00:00:00Z."""
    end = datetime.fromisoformat(text)
    end = end.replace(tzinfo=end.tzinfo or UTC).astimezone(UTC)
    return end.isoformat(timespec="seconds").replace("+00:00", "Z")


def is_over(text: str | None) -> bool:
    return bool(text) and moment(text or "") <= moment(datetime.now(UTC).isoformat())


def ending(settings: Settings, now: datetime) -> Iterator[str]:
    """The keys of the settings that end soon, or have ended, in words."""
    for user in settings.users:
        for key in user.service_accounts:
            if key.expires and (end := datetime.fromisoformat(moment(key.expires))) - now < SOON:
                yield f"the key {key.access_key} {'ended' if end <= now else 'ends'} on {end:%Y-%m-%d}: inv accounts.rotate {key.access_key}"
