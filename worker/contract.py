"""The contract of operator and worker: requests, exit codes, steps and paths. Both sides import this."""

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
"""The meaning of a run's exit code."""

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
"""The steps of each kind of run, in order; undo and cleanup have steps of a restore."""


@dataclass
class Request:
    """A request to the worker: a run (`do`), or a read-only question (`ask`). Fields that are not set do not matter."""

    do: str = ""
    ask: str = ""
    by: str = ""
    commit: str = ""
    only: list[str] = field(default_factory=list)
    """Components of a backup; none means all."""
    limit_rate: int = 0
    """Bytes a second that a backup may send to each target; 0 means the limit of the configuration."""
    accept_shrink: bool = False
    accept_unreadable: bool = False
    """Whether this set and later ones count as complete without the objects that cannot be read now."""
    take_over: bool = False
    allow_many: bool = False
    set: str = ""
    """The id of a set, or latest."""
    source: str = ""
    """The target to read from."""
    stack: str = ""
    """Another stack than the host's own."""
    local: str = ""
    """The path on the host of a dump that was sent from the operator's machine."""
    folder: str = ""
    """The folder on the host of a set that was sent from the operator's machine."""
    databases: list[str] = field(default_factory=list)
    new_name: str = ""
    """The name under which a single database is restored, beside the live ones."""
    service: str = ""
    """The service whose folders are restored, and no database."""
    inside: str = ""
    """One folder of the service, by its path in the container."""
    buckets: list[str] = field(default_factory=list)
    """The buckets whose objects are restored, and nothing else."""
    prefix: str = ""
    """Only the keys that begin with it."""
    key: str = ""
    """Only this key."""
    exact: bool = False
    """Whether live keys that the set lacks get a delete marker."""
    new_ids: bool = False
    """Whether versions get new ids and dates from the server, as for a MinIO that does not accept given ones."""
    at: str = ""
    """The time whose state of a bucket is restored, in UTC, in the format of a listing."""
    hold_lifecycle: bool = False
    """Whether the lifecycle of restored buckets stays off until the cleanup."""
    more: list[str] = field(default_factory=list)
    """What is restored as well, if it is absent: iam, bucket-config."""
    no_tablespaces: bool = False
    show_differences: bool = False
    """Whether a plan has the differences that the last try found."""
    accept: Mapping[str, list[str]] = field(default_factory=dict)
    """The accepted differences from the set, by database."""
    drill: bool = False
    of: str = ""
    """The run that an undo takes back."""
    why: str = ""
    """Why a set is pinned."""
    pause: str = ""
    """Where a test pauses the run: before a step (`swap`), or within it at a piece of its work (`current+3`)."""

    def text(self) -> str:
        """The request as JSON, without unset fields."""
        values = dataclasses.asdict(self)
        return json.dumps({key: value for key, value in values.items() if value})

    @classmethod
    def parse(cls, text: str | bytes) -> Request:
        """The request of a text; ValueError when it is not one. An unknown key means another version of Stowage."""
        values: Any = json.loads(text)
        known = {known_field.name for known_field in dataclasses.fields(cls)}
        if not isinstance(values, dict) or (strange := sorted(values.keys() - known)):
            what = ", ".join(strange) if isinstance(values, dict) else "no object"
            raise ValueError(f"not known here: {what}")
        return cls(**values)
