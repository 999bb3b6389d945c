"""What the operator's side and the worker say to each other: requests, exit codes, steps and paths. Both import this."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")
"""The name of a run, which of a backup is also that of its set."""
CONFIG = "/etc/stowage/backup/worker.json"
STATE = "/var/lib/stowage/backup"
RUNS = f"{STATE}/runs"

OK = 0
USAGE = 2
LOCKED = 10
REFUSED = 11
FAILED = 20
COPY_FAILED = 21
RETENTION_FAILED = 22
INCOMPLETE = 23
VERIFY_FAILED = 30
RESTORE_REFUSED = 40
RESTORE_FAILED = 41
SWAP_FAILED = 42
PARTLY_RESTORED = 43
INTERRUPTED = 130
MEANS = {
    USAGE: "nothing was begun",
    LOCKED: "another run holds the lock",
    REFUSED: "refused before anything was written",
    FAILED: "nothing was published",
    COPY_FAILED: "published, but not on every target",
    RETENTION_FAILED: "published, but old sets could not be removed",
    INCOMPLETE: "published, but not with all that it should have",
    VERIFY_FAILED: "the check failed",
    RESTORE_REFUSED: "refused, nothing was touched",
    RESTORE_FAILED: "failed; what is live is as it was",
    SWAP_FAILED: "what is live was touched, and something is wrong after it",
    PARTLY_RESTORED: "restored, but not all of it; what is named was left as it was",
    INTERRUPTED: "stopped",
}
"""What the exit code of a run means."""

STEPS = {
    "backup": (
        "preflight",
        "snapshot",
        "dump",
        "check",
        "globals",
        "buckets",
        "folders",
        "config",
        "publish",
        "retention",
    ),
    "restore": (
        "preflight",
        "fetch",
        "insert",
        "roles",
        "load",
        "compare",
        "stop",
        "swap",
        "current",
        "lock",
        "accounts",
        "health",
        "start",
        "undo",
        "cleanup",
    ),
    "verify": ("find", "read", "drill", "record"),
}
"""What a run does, by what was asked for, in order; undo and cleanup have steps of a restore."""


@dataclass
class Request:
    """What is asked of the worker: a run (`do`), or a question that only reads (`ask`). What is not said does not matter."""

    do: str = ""
    ask: str = ""
    by: str = ""
    commit: str = ""
    only: list[str] = field(default_factory=list)
    """Components of a backup; none means all."""
    limit_rate: int = 0
    """Bytes a second that a backup may send to each target; 0 is what the configuration says."""
    accept_shrink: bool = False
    accept_unreadable: bool = False
    """Whether the objects that cannot be read now make this set, and those that follow, no less complete."""
    take_over: bool = False
    allow_many: bool = False
    set: str = ""
    """The id of a set, or latest."""
    source: str = ""
    """The one target to read from."""
    stack: str = ""
    """Another stack than the host's own."""
    local: str = ""
    """A dump that was sent from the operator's machine, by its path on the host."""
    folder: str = ""
    """Where a set lies that was sent from the operator's machine."""
    databases: list[str] = field(default_factory=list)
    new_name: str = ""
    """Under which the one database is restored, beside the live ones."""
    service: str = ""
    """Whose folders are restored, and no database."""
    inside: str = ""
    """The one folder of the service, by its path in the container."""
    buckets: list[str] = field(default_factory=list)
    """Whose objects are restored, and nothing else."""
    prefix: str = ""
    """Only the keys that begin so."""
    key: str = ""
    """Only this key."""
    exact: bool = False
    """Whether keys that are not in the set get a delete marker."""
    new_ids: bool = False
    """Whether versions are put in their order with ids and dates of the server's own, as on a MinIO that keeps none that are given."""
    at: str = ""
    """The moment as which a bucket comes back, in UTC as a listing tells it."""
    hold_lifecycle: bool = False
    """Whether the lifecycle of restored buckets stays off until the cleanup."""
    more: list[str] = field(default_factory=list)
    """What comes back besides, where it is absent: iam, bucket-config."""
    no_tablespaces: bool = False
    show_differences: bool = False
    """Whether a plan tells what the last try found to differ."""
    accept: Mapping[str, list[str]] = field(default_factory=dict)
    """What may differ from the set, by database."""
    drill: bool = False
    of: str = ""
    """The run that an undo is of."""
    why: str = ""
    """Why a set is pinned."""
    pause: str = ""
    """Where a test makes the run stand still: before a step (`swap`), or in it at a piece of its work (`current+3`)."""

    def text(self) -> str:
        """As JSON, without what was not said."""
        values = dataclasses.asdict(self)
        return json.dumps({key: value for key, value in values.items() if value})

    @classmethod
    def parse(cls, text: str | bytes) -> Request:
        """ValueError when it is none; a key that is not known is another Stowage's."""
        values: Any = json.loads(text)
        known = {known_field.name for known_field in dataclasses.fields(cls)}
        if not isinstance(values, dict) or (strange := sorted(values.keys() - known)):
            what = ", ".join(strange) if isinstance(values, dict) else "no object"
            raise ValueError(f"not known here: {what}")
        return cls(**values)
