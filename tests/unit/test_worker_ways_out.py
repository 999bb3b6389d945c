"""The next steps after a failed restore, and differences that a person may accept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from worker import acceptance, records
from worker.comparison import Difference
from worker.contract import RESTORE_FAILED, RESTORE_REFUSED, Request
from worker.errors import Failed
from worker.records import Record
from worker.ways_out import command, ways_out

ID = "20261121T020000Z-a1b2c3"
ROWS = Difference("rows of public.log", "3 in the set, 4 here")
LOST = Difference("TABLE DATA public facts geo could not be made", "it violates a check")


@pytest.mark.parametrize(
    ("request_", "why", "differs", "ways"),
    [
        (Request(), "x", True, [f"inv restore {ID} --accept-differences", f"inv restore {ID} --database 'a b,mlflow'"]),
        (
            Request(databases=["geo"], stack="old"),
            "x",
            True,
            [f"inv restore {ID} --of-stack old --database geo --accept"],
        ),
        (Request(), 'Tablespace "fast" does not exist.', False, [f"inv restore {ID} --no-tablespaces"]),
        (Request(no_tablespaces=True), "x", True, [f"inv restore {ID} --no-tablespaces --accept-differences"]),
        (
            Request(local="/x", databases=["geo"], new_name="b"),
            "x",
            True,
            ["inv restore FILE --database geo --as b --acc"],
        ),
        (Request(), "No space left on device", False, ["inv restore.cleanup"]),
        (Request(), 'role "ana" does not exist', True, ["CREATE ROLE for the one that is named"]),
        (Request(), "invalid locale name", False, ["name an image that has it"]),
    ],
)
def test_each_failure_names_what_leads_on(request_: Request, why: str, differs: bool, ways: list[str]) -> None:
    names = request_.databases or ["geo", "a b", "mlflow"]
    hint = ways_out(ID, request_, names, ["geo"], why, differs)
    assert all(way in hint for way in ways), hint
    assert "docs/restore-by-hand.md" in hint
    same = command(ID, request_)
    assert same not in hint.splitlines(), "the same alone would fail again"
    assert ("--database" in hint) is (len(names) > 1 or request_ != Request())


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(records, "RECORDS", tmp_path)
    messages: list[str] = []
    return SimpleNamespace(request=Request(), messages=messages, journal=SimpleNamespace(say=messages.append))


MANIFEST: Any = SimpleNamespace(id=ID)


def record(**more: Any) -> Record:
    return Record("20261121T030000Z-d4e5f6", ID, "2026-11-21T03:00:00+00:00", **more)


def test_what_differs_ends_a_restore_with_all_of_it_and_is_kept(job: Any) -> None:
    last_try = record(differs={"geo": [ROWS, LOST], "mlflow": []}, phase="failed")
    with pytest.raises(Failed) as failed:
        acceptance.must_be_the_set(job, MANIFEST, last_try)
    assert failed.value.code == RESTORE_FAILED
    assert failed.value.why == f"{ROWS}\n{LOST}"
    assert f"inv restore {ID} --database mlflow" in failed.value.hint
    last_try.save()
    assert acceptance.acceptable(job, MANIFEST, ["geo"]) == {"geo": [ROWS, LOST]}


def test_what_was_accepted_is_taken_and_written_down_and_nothing_else(job: Any) -> None:
    job.request = Request(accept={"geo": [ROWS.what]})
    again = ROWS._replace(how="3 in the set, 5 here")
    last_try = record(differs={"geo": [again]})
    acceptance.must_be_the_set(job, MANIFEST, last_try)
    assert last_try.accepted == [f"geo: {again}"] and "accepted" in job.messages[0]
    for other in ({"geo": [ROWS, LOST]}, {"mlflow": [ROWS]}):
        with pytest.raises(Failed):
            acceptance.must_be_the_set(job, MANIFEST, record(differs=other))


@pytest.mark.parametrize(
    "more", [{"phase": "done"}, {"phase": "failed", "databases": ["mlflow"]}, {"phase": "failed", "set": "another"}]
)
def test_only_what_a_restore_of_this_set_has_failed_for_can_be_accepted(job: Any, more: dict[str, Any]) -> None:
    names = more.pop("databases", ["geo"])
    last_try = record(differs={"geo": [ROWS]}, phase=more["phase"])
    last_try.set = more.get("set", ID)
    last_try.save()
    with pytest.raises(Failed, match="nothing to accept") as failed:
        acceptance.acceptable(job, MANIFEST, names)
    assert failed.value.code == RESTORE_REFUSED
