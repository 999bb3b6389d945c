"""Loading a dump into a new database: what is tried when a parallel load fails, and the reported failures."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from worker import loading, postgres, properties
from worker.comparison import Difference
from worker.contract import RESTORE_FAILED
from worker.errors import Failed

LISTED = """;
; Archive created at 2026-11-27 02:23:30 UTC
3397; 0 16390 TABLE DATA public awords geo
3396; 0 16385 TABLE DATA public zallowed geo
3398; 0 16385 TABLE DATA odd, it's places of all geo
"""
REFUSED = 'ERROR:  new row for relation "awords" violates check constraint "awords_w_check"'
COPIES = f"""pg_restore: connecting to database for restore
pg_restore: processing data for table "public.awords"
pg_restore: error: COPY failed for table "awords": {REFUSED}
DETAIL:  Failing row contains (a).
CONTEXT:  COPY awords, line 1: "a"
pg_restore: processing data for table "public.zallowed"
pg_restore: processing data for table "odd, it's.places of all"
pg_restore: warning: errors ignored on restore: 1
"""
ENTRY = """pg_restore: while PROCESSING TOC:
pg_restore: from TOC entry 3250; 2606 16393 FK CONSTRAINT layer layer_topology_id_fkey postgres
pg_restore: error: could not execute query: ERROR:  relation "x" does not exist
Command was: ALTER TABLE ONLY topology.layer
    ADD CONSTRAINT layer_topology_id_fkey FOREIGN KEY (topology_id) REFERENCES topology.topology(id);
pg_restore: error: could not execute query: ERROR:  another of the same entry
pg_restore: warning: errors ignored on restore: 2
"""
WELL = (0, "")


class Tools:
    """pg_restore with given answers; records its options and its list of entries."""

    code = RESTORE_FAILED

    def __init__(self, staging: Path, *answers: tuple[int, str]) -> None:
        self.answers, self.asked, self.staging = list(answers), list[str](), staging

    def start(self, name: str, *argv: str) -> None:
        options = [word for word in argv[1:] if word.startswith(("-j", "--")) and not word.startswith("-d")]
        if "-L" in argv:
            options.append((self.staging / "again").read_text().strip())
        self.asked.append(" ".join(options))

    def result(self, name: str, started: None, encoding: str) -> tuple[int, str]:
        return self.answers.pop(0) if self.answers else WELL

    def call(self, name: str, *argv: str) -> str:
        return LISTED


class Loads:
    """A load into a server that accepts everything."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made, self.messages, self.folder = list[str](), list[str](), folder
        monkeypatch.setattr(properties, "create", lambda session, name, like: self.made.append(f"+{name}") or [])
        monkeypatch.setattr(postgres, "drop", lambda session, name: self.made.append(f"-{name}"))
        self.dump = folder / "dump"
        self.dump.mkdir()
        toc = b"PGDMP" + loading._text(loading._NO_PATH) + b"the rest"
        (self.dump / "toc.dat").write_bytes(toc)

    def job(self) -> Any:
        return SimpleNamespace(
            staging=self.folder,
            config={},
            postgres={"jobs": 2},
            hand_over=lambda *paths: None,
            journal=SimpleNamespace(say=self.messages.append),
        )

    def run(self, *answers: tuple[int, str], tablespaces: bool = True, **like: Any) -> list[Difference]:
        self.tools = Tools(self.folder, *answers)
        properties_ = {"name": "geo", "settings": [], "encoding": "UTF8", **like}
        session: Any = None
        tools: Any = self.tools
        return loading._Loading(self.job(), session, properties_, "geo__r_1", self.dump, tools, tablespaces).run()


@pytest.fixture
def loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loads:
    return Loads(tmp_path, monkeypatch)


def test_a_load_that_works_is_one_parallel_one(loads: Loads) -> None:
    assert loads.run(WELL) == []
    assert loads.tools.asked == ["-j --exit-on-error"]
    assert loads.made == ["+geo__r_1"]


def test_a_parallel_load_that_fails_is_done_again_in_order_in_a_fresh_database(loads: Loads) -> None:
    assert loads.run((1, ENTRY.replace("does not exist", "is violated"))) == []
    assert loads.tools.asked[1:] == ["--section=pre-data", "--section=data", "--section=post-data"]
    assert loads.made == ["+geo__r_1", "-geo__r_1", "+geo__r_1"]
    assert "the parallel load failed" in loads.messages[0]


def test_rows_that_need_those_of_another_table_are_loaded_when_it_is_there(loads: Loads) -> None:
    """They are loaded before any trigger or key is made, so that the second attempt has no side effects."""
    assert loads.run((1, COPIES), WELL, (1, COPIES), WELL) == []
    assert loads.tools.asked[2:] == ["--section=data", "--section=data 3397;", "--section=post-data"]


def test_what_never_works_is_named_and_not_tried_for_ever(loads: Loads) -> None:
    lost = loads.run((1, COPIES), WELL, (1, COPIES), (1, COPIES))
    assert [failure.what for failure in lost] == ["TABLE DATA public awords geo could not be made"]
    assert "violates check constraint" in lost[0].how
    assert len(loads.tools.asked) == 5


@pytest.mark.parametrize("path_of_it", ["public", '"$user", "it\'s", public', ", ".join(["public"] * 20)])
def test_what_is_not_found_is_looked_for_where_the_database_itself_looks(loads: Loads, path_of_it: str) -> None:
    path = {"role": None, "settings": ["work_mem=1MB", f"search_path={path_of_it}"]}
    assert loads.run((1, ENTRY), settings=[{"role": "geo", "settings": ["search_path=no"]}, path]) == []
    data = (loads.dump / "toc.dat").read_bytes()
    start, sign, length, statement = (
        data[:5],
        data[5],
        int.from_bytes(data[6:10], "little"),
        data[10 : -len("the rest")],
    )
    assert (start, sign, length, data[-8:]) == (b"PGDMP", 0, len(statement), b"the rest")
    assert statement.decode().strip() == f"SET search_path = {path_of_it};"
    assert len(loads.tools.asked) == 4, "not once more without it"


@pytest.mark.parametrize(("path", "fits"), [('"$user", public', True), (", ".join(["public"] * 20), False)])
def test_in_a_dump_of_one_file_nothing_is_moved(tmp_path: Path, path: str, fits: bool) -> None:
    dump = tmp_path / "dump"
    data = b"PGDMP" + loading._text(loading._NO_PATH) + b"data" * 50000
    dump.write_bytes(data)
    assert loading._exchange_path(dump, path) is fits
    after = dump.read_bytes()
    assert len(after) == len(data) and after.endswith(b"data" * 50000)
    assert (f"SET search_path = {path};".encode() in after) is fits


def test_a_path_is_tried_when_the_want_of_it_shows_only_in_order(loads: Loads) -> None:
    assert loads.run((1, "a key was violated"), (1, ENTRY)) == []
    assert loads.tools.asked.count("--section=pre-data") == 2
    assert loads.made == ["+geo__r_1", "-geo__r_1", "+geo__r_1", "-geo__r_1", "+geo__r_1"]


@pytest.mark.parametrize(
    "why",
    [
        'pg_restore: error: could not execute query: ERROR:  tablespace "fast" does not exist',
        "pg_restore: error: ERROR:  could not extend file: No space left on device",
        "pg_restore: error: server closed the connection unexpectedly",
    ],
)
def test_what_would_fail_in_any_order_is_tried_once(loads: Loads, why: str) -> None:
    with pytest.raises(Failed) as failed:
        loads.run((1, why))
    assert failed.value.code == RESTORE_FAILED and why in failed.value.why
    assert len(loads.tools.asked) == 1


def test_a_load_that_ends_without_a_count_of_errors_is_never_taken_for_one_that_worked(loads: Loads) -> None:
    with pytest.raises(Failed, match="could not be loaded"):
        loads.run((1, "a key was violated"), (1, "pg_restore: error: could not read from input file"))
    with pytest.raises(Failed, match="could not be loaded"):
        loads.run((1, "a key was violated"), (1, "pg_restore: warning: errors ignored on restore: 1"))


def test_tablespaces_are_left_out_of_every_try(loads: Loads) -> None:
    loads.run((1, "a key was violated"), tablespaces=False)
    assert len(loads.tools.asked) == 4
    assert all("--no-tablespaces" in options for options in loads.tools.asked)


def test_an_entry_is_named_once_with_its_first_error() -> None:
    (failure,) = loading.failures(ENTRY)
    assert (failure.entry, failure.why) == (3250, 'relation "x" does not exist')
    assert failure.what == "FK CONSTRAINT layer layer_topology_id_fkey postgres"


def test_a_table_is_known_by_its_place_in_the_list_whatever_it_is_called() -> None:
    output = COPIES.replace('"public.awords"', '"public.awords"\npg_restore: made of "a new line', 1)
    (failure,) = loading.failures(output, loading._TABLE.findall(LISTED))
    assert (failure.entry, failure.what) == (3397, "TABLE DATA public awords geo")


@pytest.mark.parametrize(("name", "stays"), [("template1", False), ("pattern", True)])
def test_a_template_of_the_server_is_none_where_it_is_restored_beside(
    loads: Loads, monkeypatch: pytest.MonkeyPatch, name: str, stays: bool
) -> None:
    dressed: list[Any] = []
    monkeypatch.setattr(properties, "dress", lambda session, scratch, like: dressed.append(like["template"]) or [])
    (loads.folder / "set-0").mkdir()
    loads.dump.rename(loads.folder / "set-0/dump")
    like = {"name": name, "settings": [], "encoding": "UTF8", "template": True}
    manifest: Any = SimpleNamespace(databases={name: like})
    tools: Any = Tools(loads.folder)
    assert loading.load(loads.job(), None, manifest, name, "found", 0, tools).lost == []  # type: ignore[arg-type]
    assert dressed == [stays]
