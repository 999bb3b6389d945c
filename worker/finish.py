"""The reports at the end of a run: to the operator, to `inv status`, to Prometheus, and to a service that alarms on silence."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from worker.contract import COPY_FAILED, INCOMPLETE, OK, RETENTION_FAILED
from worker.errors import Failed
from worker.job import STATE, Job
from worker.journal import Journal

DRILLED = "drilled"
"""A file whose age shows the schedule when a drill passed last."""
PUBLISHED = (OK, COPY_FAILED, RETENTION_FAILED, INCOMPLETE)


def write_result(job: Job, code: int, failure: Failed | None) -> None:
    """Writes the result as the last line of the journal; `last.json` keeps the last backup, the last one that was
    published, and how long the last restore took.
    """
    more = {"what": failure.what, "why": failure.why, "hint": failure.hint} if failure else {}
    job.journal.write("end", code=code, dead=job.dead, closed=job.closed, notes=job.notes, **more)
    before = last()
    if job.request.do == "restore" and code == OK:
        took = {"run": job.run, "at": time.time(), "seconds": time.time() - job.begun}
        _write(STATE / "last.json", json.dumps({**before, "restored": took}))
    if job.request.do == "verify":
        _checked(job, before, {"code": code, **more})
    if job.request.do != "backup":
        return
    now = {
        "run": job.run,
        "at": time.time(),
        "code": code,
        "dead": job.dead,
        "closed": job.closed,
        "notes": job.notes,
        **more,
    }
    only = job.request.only
    kept = {**before, "last": now}
    if code in PUBLISHED:
        kept["published"] = now
        for component in only or job.config["components"]:
            if component not in job.lacking:
                kept[f"published_{component}"] = now
    _write(STATE / "last.json", json.dumps(kept))
    _write_metrics(job, kept)
    ping(job, "" if code in PUBLISHED else "/fail")


def refused(run: str, failure: Failed) -> None:
    """Writes the last line of the journal of a run whose request could not be read."""
    journal = Journal(STATE / "runs" / run / "journal.jsonl", ())
    journal.write("end", code=failure.code, what=failure.what, why=failure.why, hint=failure.hint)


def _checked(job: Job, before: dict[str, Any], end: dict[str, Any]) -> None:
    """Keeps the last check and the last drill: a passed check does not replace a failed drill."""
    now = {"run": job.run, "at": time.time(), "seconds": time.time() - job.begun, "set": job.request.set, **end}
    drill = job.request.drill
    kept = {**before, "checked": now | {"drill": drill}, "checks": _checks(job, before.get("checks", {}))}
    if drill:
        kept["drilled"] = now
        if end["code"] == OK:
            (STATE / DRILLED).touch()
    _write(STATE / "last.json", json.dumps(kept))
    _write_metrics(job, kept)
    if end["code"] != OK:
        ping(job, "/fail")


def _checks(job: Job, before: dict[str, Any]) -> dict[str, Any]:
    """The newest check on each target. A passed check does not replace a failed drill of the same set."""
    names = {target["name"] for target in job.config["targets"]}
    checks = {name: check for name, check in before.items() if name in names}
    for name, now in job.checks.items():
        old = checks.get(name)
        lasts = old and old["drill"] and not old["passed"] and old["set"] == now["set"]
        if not (lasts and now["passed"] and not now["drill"]):
            checks[name] = now
    return checks


def _write_metrics(job: Job, kept: dict[str, Any]) -> None:
    if job.config["textfile"] and "last" in kept:
        _write(Path(job.config["textfile"]) / "stowage_backup.prom", _metrics(job, kept), 0o644)


def last() -> dict[str, Any]:
    with suppress(OSError, ValueError):
        return dict(json.loads((STATE / "last.json").read_text()))
    return {}


def ping(job: Job, what: str) -> None:
    """Notifies a service that alarms on silence. Without that service the run does not fail."""
    if job.config["ping"]:
        with suppress(OSError, ValueError):
            urllib.request.urlopen(job.config["ping"].rstrip("/") + what, timeout=10).close()


def _metrics(job: Job, kept: dict[str, Any]) -> str:
    stack = f'stack="{job.stack}"'
    lines = [
        "# HELP stowage_backup_last_exit_code Exit code of the last backup; 0 is well, 21 lacks a copy.",
        "# TYPE stowage_backup_last_exit_code gauge",
        f"stowage_backup_last_exit_code{{{stack}}} {kept['last']['code']}",
        "# HELP stowage_backup_last_success_timestamp_seconds When the newest set of a component was published.",
        "# TYPE stowage_backup_last_success_timestamp_seconds gauge",
    ]
    for component in job.config["components"]:
        at = kept.get(f"published_{component}", {}).get("at", 0)
        lines.append(f'stowage_backup_last_success_timestamp_seconds{{{stack},component="{component}"}} {at:.0f}')
    lines += [
        "# HELP stowage_backup_target_up Whether a target took the last set.",
        "# TYPE stowage_backup_target_up gauge",
    ]
    for target in job.config["targets"]:
        up = int(target["name"] not in kept["last"]["dead"] and kept["last"]["code"] in PUBLISHED)
        lines.append(f'stowage_backup_target_up{{{stack},target="{target["name"]}"}} {up}')
    if checks := kept.get("checks"):
        lines += [
            "# HELP stowage_backup_check_passed Whether the newest check of a set on a target passed.",
            "# TYPE stowage_backup_check_passed gauge",
        ]
        for name, check in checks.items():
            lines.append(f'stowage_backup_check_passed{{{stack},target="{name}"}} {int(check["passed"])}')
    for key, what in (("checked", "check"), ("drilled", "drill")):
        if key in kept:
            lines += _last(stack, f"stowage_backup_last_{what}", what, kept[key])
    return "\n".join(lines) + "\n"


def _last(stack: str, name: str, what: str, end: dict[str, Any]) -> list[str]:
    """The metrics of the last check or drill: its result, its time and its duration."""
    rows = (
        ("exit_code", f"Exit code of the last {what} of a set; 0 is well.", end["code"]),
        ("timestamp_seconds", f"When the last {what} of a set ended.", f"{end['at']:.0f}"),
        ("duration_seconds", f"How long the last {what} of a set took.", f"{end['seconds']:.0f}"),
    )
    return [
        line
        for key, meaning, value in rows
        for line in (f"# HELP {name}_{key} {meaning}", f"# TYPE {name}_{key} gauge", f"{name}_{key}{{{stack}}} {value}")
    ]


def _write(path: Path, text: str, mode: int = 0o600) -> None:
    """Writes a file atomically."""
    unfinished = path.with_name(f".{path.name}.new")
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
