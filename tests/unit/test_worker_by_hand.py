"""A dump made by hand: the tables with rows that it would lose."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from worker import by_hand, snapshots
from worker.errors import Failed

WHOLE = """;
; Archive created at 2026-11-27 02:13:24 UTC
217; 1259 16385 TABLE public t postgres
218; 1259 16388 TABLE public a b postgres
3430; 0 16385 TABLE DATA public t postgres
3431; 0 16388 TABLE DATA public a b postgres
"""
SCHEMA = "\n".join(line for line in WHOLE.splitlines() if "DATA" not in line)
ROWS = "\n".join(line for line in WHOLE.splitlines() if " TABLE public" not in line)


def job(rows: dict[str, Any], large: bool = False) -> Any:
    """A live database: for each table whether it has rows, or the error of the query."""

    def execute(query: Any) -> Any:
        if query is snapshots.TABLES:
            tables = [{"schema": "public", "name": name, "condition": ""} for name in rows]
            return SimpleNamespace(fetchall=lambda: tables)
        text = query if isinstance(query, str) else query.as_string(None)
        answer = next((has for name, has in rows.items() if f'"{name}"' in text), large)
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(fetchone=lambda: {"some": answer})

    @contextmanager
    def connect(database: str) -> Any:
        yield SimpleNamespace(execute=execute)

    return SimpleNamespace(server=SimpleNamespace(connect=connect))


@pytest.mark.parametrize(
    ("output", "live", "lost"),
    [
        (WHOLE, {"t": True, "a b": True}, []),
        (SCHEMA, {"t": True, "a b": False}, ["public.t"]),
        (WHOLE, {"t": True, "newer": True, "empty": False}, ["public.newer"]),
        (SCHEMA, {"t": psycopg.errors.LockNotAvailable()}, ["public.t"]),
    ],
)
def test_only_tables_that_have_rows_and_are_not_in_the_dump_are_lost(output: str, live: Any, lost: list[str]) -> None:
    assert by_hand.lost(job(live), "app", output) == lost


def test_large_objects_are_rows_as_well() -> None:
    assert by_hand.lost(job({}, large=True), "app", SCHEMA) == ["large objects"]
    assert by_hand.lost(job({}, large=True), "app", SCHEMA + "\n9; 0 0 BLOBS - BLOBS\n") == []


def test_rows_without_tables_are_refused_before_they_are_loaded_into_nothing() -> None:
    by_hand.must_have_tables(WHOLE)
    by_hand.must_have_tables(SCHEMA)
    by_hand.must_have_tables("")
    by_hand.must_have_tables("2; 3079 1 EXTENSION - postgis \n3431; 0 9 TABLE DATA public spatial_ref_sys postgres\n")
    with pytest.raises(Failed, match="no tables to load them into"):
        by_hand.must_have_tables(ROWS)
