"""Targets of backups: they hold the same sets, and any one of them can fail."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from worker.contract import USAGE
from worker.errors import Failed
from worker.targets.base import LARGEST, PARTIAL, Entry, Exists, Missing, Probe, Target, checked
from worker.targets.path import PathTarget

__all__ = [
    "LARGEST",
    "PARTIAL",
    "Entry",
    "Exists",
    "Missing",
    "PathTarget",
    "Probe",
    "Target",
    "checked",
    "make",
]

# Loaded on demand: the library of a target takes as long to load as the rest of a run.
KINDS = {"s3": "S3Target", "sftp": "SftpTarget", "path": "PathTarget"}
# parameters for tests, not settings
NO_SETTING = {"device"}


def make(config: dict[str, Any]) -> Target:
    """A target from its JSON: `kind`, `name`, and what its kind takes, by the names of its constructor."""
    settings = dict(config)
    kind, name = settings.pop("kind", None), settings.get("name", "?")
    if kind not in KINDS:
        raise Failed(USAGE, f"target {name}: there is no kind {kind!r}", why=f"there are {', '.join(KINDS)}")
    target = getattr(importlib.import_module(f"worker.targets.{kind}"), KINDS[kind])
    takes = {key: parameter for key, parameter in inspect.signature(target).parameters.items() if key not in NO_SETTING}
    needs = [key for key, parameter in takes.items() if parameter.default is parameter.empty]
    problems = [f"{key} is missing" for key in needs if key not in settings]
    problems += [f"{key} is unknown" for key in settings if key not in takes]
    if problems:
        raise Failed(USAGE, f"target {name}: its settings are wrong", why="; ".join(problems))
    made: Target = target(**settings)
    return made
