"""Every screen of backups and restores: no line is wider than a terminal, and no hint repeats the command that was typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from converge.errors import Trouble
from converge.ui import cli
from roles.backup import commands as backup
from roles.backup import following, restore, runs
from roles.backup import sets as backup_sets
from roles.backup import status as backup_status
from runbook import history
from worker.contract import COPY_FAILED, INCOMPLETE

WIDEST = 100
ID, RUN = "20261121T020000Z-a1b2c3", "20261121T030000Z-d4e5f6"
HOST: Any = SimpleNamespace(name="store-number-one", settings=SimpleNamespace(backup=SimpleNamespace(targets=[1, 2])))
LONG = (
    "it could not be dumped: public.measurements is locked for more than a minute: session 859 of geo (psql),"
    " idle in transaction since 2026-11-27 02:37 UTC"
)
FULL = "it has no room for a set: the last one took 279.0 MiB, 3.0 MiB are free in /home/operator/sets on 172.30.99.1"
CHECK = {"at": "2026-11-21T03:00:00+00:00", "passed": False, "drill": True, "why": f"{LONG}\n{LONG}"}
NAMES = [f"database_number_{number}" for number in range(6)]
SET = {
    "id": ID,
    "created": "2026-11-21T02:00:00+00:00",
    "bytes": 5 << 30,
    "objects": 5 << 40,
    "only": [],
    "failed": NAMES,
    "pinned": True,
    "targets": {"own": "whole", "elsewhere": "whole", "a-third-target": "damaged"},
    "checks": {"own": CHECK, "elsewhere": {**CHECK, "passed": True}},
}
DATABASE = {
    "rows": 10**9,
    "tables": 812,
    "dump_bytes": 5 << 30,
    "owner": "somebody_with_a_long_name",
    "extensions": ["hstore", "pgrouting", "plpgsql", "postgis", "postgis_raster", "postgis_topology", "uuid-ossp"],
}
SHOWN = {
    **SET,
    "finished": "2026-11-21T02:41:00+00:00",
    "stack": "prod",
    "host": HOST.name,
    "from": "a-third-target",
    "parts": 90,
    "server": {
        "version": "PostgreSQL 17.12 (Debian 17.12-0+deb13u1) on x86_64-pc-linux-gnu, compiled by gcc 14.2.0, 64-bit"
    },
    "databases": dict.fromkeys(NAMES, DATABASE),
    "left_out": dict.fromkeys(NAMES, LONG) | {"other": "it lets nobody in (ALLOW_CONNECTIONS false)"},
    "omitted": {"settings of the server": NAMES},
    "files": ["/etc/fstab"],
    "buckets": {NAMES[0]: {"bytes": 1 << 60, "versions": 10**9, "markers": 10**9}},
    "folders": {
        f"{NAMES[0]}:/var/lib/{NAMES[0]}": {"here": f"/srv/{NAMES[0]}", "files": 9, "bytes": 5, "stopped": True}
    },
}
PLANNED = {
    "name": NAMES[0],
    "to": NAMES[0],
    "bytes": 5 << 30,
    "rows": 10**9,
    "replaces": 5 << 30,
    "kept": f"{NAMES[0]}__old_NUMBER",
    "sessions": 12,
    "lost": [f"public.{name}" for name in NAMES],
}
PLAN = {
    "set": ID,
    "from": "a-third-target",
    "created": SET["created"],
    "host": HOST.name,
    "stack": "prod",
    "databases": [PLANNED],
    "obstacles": [],
    "warnings": [LONG, f"the set does not have {', '.join(NAMES)}: {LONG}"],
    "dependents": NAMES,
    "free": {"/srv/stowage/postgres": 1, "/var/lib/stowage/staging": 1},
    "files": 9,
    "differ": ["/etc/fstab"],
}
DIFF = {
    "id": ID,
    "created": SET["created"],
    "databases": {NAMES[0]: [f"rows of public.{'_'.join(NAMES[:4])}: 1000000 in the set, 999999 here"]},
    "files": [{"what": "content", "path": "/etc/stowage/backup/worker.json"}],
    "buckets": {NAMES[0]: [f"{'/'.join(NAMES[:4])}: the version {'0' * 36} has other metadata"]},
    "folders": {"keeper:/data": [f"{'/'.join(NAMES[:4])}: -rw-r--r-- 1/1 9 bytes of then in the set, absent here"]},
    "unread": {},
    "number": 9,
}
DEAD = {"elsewhere": FULL, "a-third-target": FULL}
END = {"event": "end", "dead": DEAD, "why": LONG, "hint": f"elsewhere: more room: df -h there\nthen inv backup\n{LONG}"}
EVENTS = [
    {"event": "say", "text": f"the target elsewhere is given up: {FULL}"},
    {"event": "end", "step": "dump", "seconds": 1.0, "failed": LONG},
]


def ended(code: int, **more: Any) -> Callable[[], None]:
    def end() -> None:
        for event in EVENTS:
            following.show_event(event, terminal=False)
        following.end(HOST, {**END, "code": code, **more})

    return end


def statuses() -> None:
    backups = backup_status.Backups(age={"postgres": 9.0}, dead=DEAD, unfinished=[LONG])
    from runbook.status_screen import fitted

    print("\n".join(piece for line in backup_status.lines(backups) for piece in fitted(line, WIDEST, 11)))


SCREENS: dict[str, tuple[str, dict[str, Any], Callable[[], Any]]] = {
    "list": ("inv backup.list", {"sets": [SET], "dead": {"far": FULL}}, lambda: backup_sets.listing(HOST, "", False)),
    "list, all away": ("inv backup.list", {"sets": [], "dead": DEAD}, lambda: backup_sets.listing(HOST, "", False)),
    "show": ("inv backup.show", SHOWN, lambda: backup_sets.show(HOST, ID, "", False)),
    "diff": ("inv backup.diff", DIFF, lambda: backup_sets.diff(HOST, ID, "", False)),
    "pin": ("inv backup.pin", {"id": ID}, lambda: backup.pin(HOST, ID, "")),
    "stop": ("inv backup.stop", {}, lambda: backup.stop(HOST, True)),
    "backup, 21": ("inv backup.attach", {"sets": []}, ended(COPY_FAILED)),
    "backup, 23": ("inv backup.attach", {"sets": []}, ended(INCOMPLETE)),
    "no hint": ("inv backup.attach", {"sets": []}, ended(41, hint="")),
    "killed": ("inv restore", {"sets": []}, lambda: following.end(HOST, runs.cut("swap"))),
    "restore": ("inv restore", PLAN, lambda: restore._shown(HOST, PLAN)),
    "refused": ("inv restore", {}, lambda: restore._agreed_to_lose(HOST, "app.dump", [PLANNED], True)),
    "held": ("inv restore", {}, lambda: restore._shown(HOST, {**PLAN, "obstacles": [LONG, LONG]})),
    "no file": ("inv restore", {}, lambda: restore._named(HOST, "~/somewhere/deep/below/app.dump")),
    "status": ("inv status", {}, statuses),
}


@pytest.mark.parametrize("name", SCREENS)
def test_no_line_is_wider_than_a_terminal_and_no_hint_repeats_what_was_typed(name: str, monkeypatch, capsys) -> None:
    command, answer, show = SCREENS[name]
    monkeypatch.setattr(runs, "ask", lambda host, request: answer)
    monkeypatch.setattr(runs, "_runs", lambda host: ("", RUN))
    hint = ""
    try:
        show()
    except Trouble as trouble:
        print(cli.tell(trouble))
        hint = trouble.hint
        assert hint or name == "held"
    screen = capsys.readouterr().out
    assert screen
    # A command to paste stays on one line.
    assert [line for line in screen.splitlines() if len(line) > WIDEST and " --" not in line] == []
    assert not re.fullmatch(rf"{command}(?: --host \S+)?", hint.split(";")[0])


def test_a_command_to_paste_is_never_broken() -> None:
    hint = f"inv restore {'x' * 60} --host prod --database one; or inv restore {'y' * 60} --host prod"
    lines = cli.tell(Trouble("no", hint=hint)).splitlines()[1:]
    assert [shlex.split(line)[-1] for line in lines] == ["one;", "prod"]


def test_a_long_history_fits(monkeypatch, capsys) -> None:
    changes = [f"~ file:/usr/local/lib/stowage/a/long/path/number/{number}" for number in range(9)]
    event = {
        "at": "2026-11-27T02:35:16Z",
        "who": "root",
        "from": "laptop",
        "commit": "0a33b5460ff5",
        "changes": changes,
    }
    monkeypatch.setattr(history, "_root", lambda host, script: runs.json.dumps({**event, "result": "done"}))
    history.history(HOST, 5, False)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= WIDEST


def test_a_host_on_which_nothing_was_deployed_has_a_history_of_one_line(monkeypatch, capsys) -> None:
    monkeypatch.setattr(history, "_root", lambda host, script: "")
    history.history(HOST, 5, False)
    assert capsys.readouterr().out == f"{HOST.name}: nothing was deployed yet\n"
