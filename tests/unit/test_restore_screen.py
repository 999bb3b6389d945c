"""The screens of a restore and of its undo, before and after the question."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from converge.errors import REFUSED, Trouble
from roles.backup import restore, runs
from worker.contract import Request

HOST = SimpleNamespace(name="prod")
PLAN = {
    "set": "20261121T020000Z-a1b2c3",
    "from": "own",
    "created": "2026-11-21T02:00:00+00:00",
    "host": "prod",
    "stack": "prod",
    "databases": [],
    "obstacles": [],
    "warnings": [],
    "dependents": [],
    "free": {},
}


def database(name: str, replaces: int | None) -> dict[str, Any]:
    kept = f"{name}__old_NUMBER"
    return {"name": name, "to": name, "bytes": 1, "rows": 1, "replaces": replaces, "kept": kept, "sessions": 0}


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The requests of started runs; each run succeeds."""
    requests: list[dict[str, Any]] = []
    monkeypatch.setattr(runs, "begin", lambda host, request, command, written=(): requests.append(request) or "run")
    monkeypatch.setattr(restore, "watch", lambda host, run: {"code": 0})
    return requests


def answers(monkeypatch: pytest.MonkeyPatch, **answer: Any) -> None:
    monkeypatch.setattr(runs, "ask", lambda host, request: answer)


@pytest.mark.parametrize(
    ("databases", "offered"),
    [
        ([database("geo", 5)], True),
        ([database("geo", None), database("app", 0)], True),
        ([database("copy", None)], False),
        ([], False),
    ],
)
def test_undo_is_offered_only_when_something_was_replaced(databases, offered, monkeypatch, begun, capsys) -> None:
    answers(monkeypatch, **{**PLAN, "databases": databases})
    restore.restore(HOST, "latest", (), "", "", "", True, "a test")
    assert ("undo with: inv restore.undo --host prod" in capsys.readouterr().out) is offered


def test_an_undo_shows_which_restore_it_is_of_and_means_that_one(monkeypatch, begun, capsys) -> None:
    row = {"name": "geo", "kept": "geo__old_a1b2c3", "away": "geo__undone_a1b2c3"}
    answers(monkeypatch, run="run7", set="the set", restored="2026-11-21T09:30:00+00:00", databases=[row])
    restore.undo(HOST, True, "a test")
    screen = capsys.readouterr().out
    assert "prod: the last restore brought the set, begun 2026-11-21 09:30 UTC" in screen
    assert "~ geo is again what is kept as geo__old_a1b2c3" in screen
    assert begun == [Request(do="undo", of="run7")]


def test_an_undo_names_the_accounts_that_go_with_it(monkeypatch, begun, capsys) -> None:
    plan = {"run": "run1", "set": "ID", "restored": "2026-11-28T09:00:00+00:00", "databases": [], "buckets": ["b"]}
    answers(monkeypatch, **plan, accounts=["users: ana", "policies: by-hand"])
    restore.undo(HOST, True, "a test")
    assert "- who may use the buckets, users: ana" in capsys.readouterr().out


def test_what_was_passed_over_is_said_before_the_question_and_with_yes_too(monkeypatch, begun, capsys) -> None:
    warnings = ["far could not be asked: no route", "20261122T020000Z-a1b2c3 is newer, and damaged on own"]
    answers(monkeypatch, **{**PLAN, "warnings": warnings})
    order: list[str] = []
    monkeypatch.setattr(restore, "confirm", lambda *_, **__: order.append(capsys.readouterr().out))
    restore.restore(HOST, "latest", (), "", "", "", True, "a test")
    assert all(f"  warning: {line}\n" in order[0] for line in warnings)
    assert [request.set for request in begun] == [PLAN["set"]]


LOST = ["public.a", "public.b"]


def test_a_dump_that_lacks_rows_which_are_there_is_not_passed_over_by_yes(monkeypatch, begun, capsys) -> None:
    answers(monkeypatch, **{**PLAN, "databases": [database("geo", 5) | {"lost": LOST}]})
    with pytest.raises(Trouble, match=r"no rows of public\.a, public\.b, which geo has") as caught:
        restore.restore(HOST, "latest", (), "", "", "", True, "a test")
    assert (caught.value.code, begun) == (REFUSED, [])
    assert "--accept-empty" in caught.value.hint
    assert "THE DUMP HAS NO ROWS of public.a, public.b" in capsys.readouterr().out
    restore.restore(HOST, "latest", (), "", "", "", True, "a test", accept_empty=True)
    assert begun


def test_a_dump_that_lacks_rows_asks_for_the_name_of_the_database_as_well(monkeypatch, begun) -> None:
    answers(monkeypatch, **{**PLAN, "databases": [database("geo", 5) | {"lost": LOST}, database("new", None)]})
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    asked: list[str] = []
    monkeypatch.setattr(restore, "confirm", lambda question, yes, word="": asked.append(word))
    restore.restore(HOST, "latest", (), "", "", "", False, "a test")
    assert asked == ["prod", "geo"]


def test_what_may_differ_is_shown_asked_for_and_written_down(monkeypatch, begun, capsys) -> None:
    rows = [["rows of public.log", "3 in the set, 4 here"]]
    answers(monkeypatch, **PLAN, accept={"geo": rows})
    order: list[str] = []
    monkeypatch.setattr(restore, "confirm", lambda *_, **__: order.append(capsys.readouterr().out))
    audited: list[list[str]] = []
    monkeypatch.setattr(
        runs, "begin", lambda host, request, command, written: begun.append(request) or audited.append(written) or "run"
    )
    restore.restore(HOST, "latest", (), "", "", "", False, "a test", tablespaces=False, accept=True)
    assert "  ACCEPTED  geo: rows of public.log: 3 in the set, 4 here\n" in order[0]
    assert "tablespaces: none" in order[0]
    assert begun[0].accept == {"geo": ["rows of public.log"]} and begun[0].no_tablespaces is True
    assert audited == [["geo: rows of public.log: 3 in the set, 4 here"]]


def test_what_is_accepted_is_a_line_of_the_audit() -> None:
    line = runs._audited("inv restore", "run7", ['geo: it\'s "other"'])
    assert "audit.jsonl" in line and '"result": "accepted"' in line and '"run": "run7"' in line


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ([], []),
        (["geo"], ["geo"]),
        (["geo,app"], ["geo", "app"]),
        (["geo", "app,geo"], ["geo", "app"]),
        (['"a,b",c'], ["a,b", "c"]),
    ],
)
def test_databases_are_named_with_commas_or_one_by_one(given, names, monkeypatch, begun) -> None:
    answers(monkeypatch, **PLAN)
    restore.restore(HOST, "latest", given, "", "", "", True, "a test")
    assert begun[0].databases == names


def test_a_list_of_databases_with_a_quote_that_has_no_end_is_refused(monkeypatch, begun) -> None:
    answers(monkeypatch, **PLAN)
    with pytest.raises(Trouble, match="""--database '"a,b' cannot be read"""):
        restore.restore(HOST, "latest", ['"a,b'], "", "", "", True, "a test")
    assert not begun


def test_a_database_that_cannot_be_renamed_is_told_with_what_ends_that(monkeypatch, begun) -> None:
    answers(monkeypatch, **{**PLAN, "obstacles": ["geo has a subscription s1"], "ways": ["on the host: do it"]})
    with pytest.raises(Trouble) as caught:
        restore.restore(HOST, "latest", [], "", "", "", True, "a test")
    assert (caught.value.code, caught.value.hint) == (REFUSED, "on the host: do it\nthen the same again")
