"""Omissions of a set are named; those that the server has already are not."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from worker import catalogues, omissions, plan
from worker.manifest import Manifest


class Session:
    """A server with an answer for each query that contains a given text."""

    def __init__(self, version: int = 170000, **answers: Any) -> None:
        self.info = SimpleNamespace(server_version=version)
        self.answers, self.asked = answers, list[str]()

    def execute(self, query: str) -> Any:
        self.asked.append(query)
        rows = next((rows for key, rows in self.answers.items() if key in query), [])
        if isinstance(rows, Exception):
            raise rows
        return SimpleNamespace(fetchall=lambda: rows)


def catalogue(name: str, *columns: str, shared: bool = True) -> dict[str, Any]:
    return {"catalogue": name, "shared": shared, "columns": list(columns)}


SETTING = {"name": "work_mem", "statement": "ALTER SYSTEM SET work_mem = '7MB';"}


@pytest.mark.parametrize(
    ("row", "named"),
    [
        (catalogue("pg_database", "datname", "datacl"), []),
        (catalogue("pg_database", "datname", "datcolour"), ["pg_database.datcolour"]),
        (catalogue("pg_quota", "quorole", "quobytes"), ["pg_quota.quorole", "pg_quota.quobytes"]),
        (catalogue("pg_proc", "oid", "whatever", shared=False), []),
        (catalogue("pg_job", "oid", shared=False), ["pg_job"]),
    ],
    ids=["known", "a new column", "a new catalogue of the server", "of a dump", "a new catalogue of a database"],
)
def test_what_a_new_version_brings_is_named_until_somebody_decides(row: Any, named: list[str]) -> None:
    session: Any = Session(relisshared=[row])
    assert catalogues.undecided(session) == named
    assert [omission["name"] for omission in omissions.find(session)] == named


def test_every_decision_is_one_and_no_column_has_two() -> None:
    for name, decided in catalogues.COLUMNS.items():
        columns = " ".join(decided.values()).split()
        assert len(columns) == len(set(columns)), name
        assert set(decided) <= set((catalogues.RESTORED, catalogues.DUMP, catalogues.NAMED, catalogues.MACHINE)), name


def test_a_server_is_not_asked_for_what_it_cannot_have() -> None:
    old, new = Session(140000), Session(150000)
    for server in (old, new):
        omissions.find(server)  # type: ignore[arg-type]
    assert not any("pg_parameter_acl" in query for query in old.asked)
    assert any("pg_parameter_acl" in query for query in new.asked)


def test_only_what_is_not_here_just_so_is_left_out() -> None:
    kind = omissions.KINDS[0].called
    same: Any = Session(pg_file_settings=[SETTING])
    other: Any = Session(pg_file_settings=[{**SETTING, "statement": "ALTER SYSTEM SET work_mem = '1MB';"}])
    rows = [{"kind": kind, **SETTING}]
    assert omissions.lacking(same, rows) == []
    assert omissions.lacking(other, rows) == rows
    assert omissions.lacking(Session(), rows) == rows  # type: ignore[arg-type]


def test_what_cannot_be_read_is_named_and_stops_no_backup() -> None:
    session: Any = Session(pg_file_settings=psycopg.OperationalError("no such file\nDETAIL: a secret"))
    (row,) = omissions.find(session)
    assert (row["kind"], row["name"]) == (omissions.KINDS[0].called, "cannot be read, no such file")


def test_a_line_names_a_few_and_says_how_many_more() -> None:
    rows = [{"kind": "tablespaces", "name": f"t{n}", "statement": f"CREATE {n};"} for n in range(7)]
    assert omissions.lines(omissions.names(rows)) == ["tablespaces: t0, t1, t2, t3, t4 and 2 more"]
    assert omissions.script(rows[:2]) == "-- tablespaces: t0, t1\nCREATE 0;\nCREATE 1;\n"


def test_a_plan_names_every_database_that_does_not_come_back_by_itself() -> None:
    databases = {
        "postgres": {"template": False, "entries": 3},
        "template1": {"template": True, "entries": 0},
        "mine": {"template": True, "entries": 9},
        "app": {"template": False, "entries": 9},
    }
    now = datetime.now(UTC)
    shut = {"shut": "it lets nobody in"}
    manifest = Manifest("id", "prod", "prod", now, now, databases=databases, closed=shut)
    assert plan.left_out(manifest, ["app"], objects=False) == [
        "the set does not have shut: it lets nobody in",
        "what is in postgres comes back only beside: --database postgres --as NAME",
        "mine is a template, and comes back only by name: --database mine",
    ]
    assert plan.left_out(manifest, ["app", "mine", "postgres"], objects=False) == [
        "the set does not have shut: it lets nobody in"
    ]
