"""Checks of sets: read from each target, restored once, and recorded beside the set."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from worker import containers, drill, finding, sets, verify
from worker.contract import FAILED, REFUSED, RESTORE_REFUSED, VERIFY_FAILED, Request
from worker.errors import Failed

LACKS = Failed(VERIFY_FAILED, "geo would not be what the set says", "rows of public.a: 3 in the set, 2 here", "by hand")


class Host:
    """Targets with one set each, the results of reading and restoring it, and the records beside it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **targets: str) -> None:
        self.targets, self.drilled = targets, list[str]()
        self.recorded: dict[str, list[tuple[bool, bool, str]]] = {}
        self.read: dict[str, Failed] = {}
        self.restored: Callable[[], None] = lambda: None
        self.room: Callable[[], None] = lambda: None
        monkeypatch.setattr(finding, "find", self.find)
        monkeypatch.setattr(verify, "_read", self.reading)
        monkeypatch.setattr(drill, "must_have_room", lambda job, manifest: self.room())
        monkeypatch.setattr(drill, "run", self.drill)
        monkeypatch.setattr(containers, "remove", lambda run: None)
        monkeypatch.setattr(sets, "add_verified", self.record)

    def find(self, job: Any) -> Any:
        if not (id := self.targets[job.request.source]):
            raise Failed(RESTORE_REFUSED, "no target has the set latest", f"{job.request.source}: it is not there")
        return SimpleNamespace(manifest=SimpleNamespace(id=id, stack="lab", databases={"geo": {}}, folders={}))

    def reading(self, job: Any, manifest: Any, name: str) -> None:
        if name in self.read:
            raise self.read[name]

    def drill(self, job: Any, manifest: Any, source: str) -> None:
        self.drilled.append(f"{manifest.id} from {source}")
        self.restored()

    def record(self, target: str, stack: str, id: str, keys: Any, at: Any, passed: bool, **more: Any) -> None:
        self.recorded.setdefault(target, []).append((passed, more["drill"], more["why"]))

    def verify(self, drill: bool = True, set: str = "latest", whole_set: bool = False) -> tuple[int, str, str]:
        """The exit code, the why and the hint."""
        journal: Any = SimpleNamespace(say=lambda text: None, step=lambda name: _Step())
        request = Request(set=set, drill=drill)
        self.job: Any = SimpleNamespace(
            run="run",
            keys=None,
            request=request,
            journal=journal,
            checks={},
            targets={name: name for name in self.targets},
        )
        try:
            return verify.run(self.job), "", ""
        except Failed as error:
            if whole_set:
                raise
            return error.code, error.why, error.hint


class _Step:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def raises(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def test_a_set_that_is_whole_on_two_targets_is_restored_once_and_that_counts_for_both(monkeypatch) -> None:
    host = Host(monkeypatch, own="a", far="a")
    assert host.verify() == (0, "", "")
    assert host.drilled == ["a from own"]
    assert host.recorded == {"own": [(True, True, "")], "far": [(True, True, "")]}
    assert host.job.request.set == "a", "which one the latest was is told to status"


def test_a_drill_that_failed_stands_beside_the_set_on_every_target_and_a_new_backup_is_no_advice(monkeypatch) -> None:
    host = Host(monkeypatch, own="a", far="a")
    host.restored = raises(LACKS)
    code, why, hint = host.verify()
    assert code == VERIFY_FAILED and "rows of public.a: 3 in the set, 2 here" in why
    assert "inv backup" not in hint
    assert hint == "by hand"
    assert [(passed, drill) for rows in host.recorded.values() for passed, drill, _ in rows] == [(False, True)] * 2


def test_a_server_that_says_no_in_a_drill_is_the_sets_failure_too(monkeypatch) -> None:
    host = Host(monkeypatch, own="a")
    host.restored = raises(psycopg.errors.UndefinedObject('role "x" does not exist'))
    code, why, _ = host.verify()
    assert code == VERIFY_FAILED and 'role "x" does not exist' in why
    assert host.recorded["own"][0][:2] == (False, True)


@pytest.mark.parametrize(
    "error",
    [
        Failed(FAILED, "docker run failed", "no such image"),
        Failed(VERIFY_FAILED, "geo could not be loaded", "ERROR:  could not extend file: No space left on device"),
        psycopg.OperationalError("server closed the connection unexpectedly"),
    ],
)
def test_a_drill_that_could_not_be_made_says_nothing_of_the_set(monkeypatch, error: Exception) -> None:
    host = Host(monkeypatch, own="a")
    host.restored = raises(error)
    code, why, _ = host.verify()
    assert code == VERIFY_FAILED and "the drill could not be made: " in why
    assert host.recorded == {"own": [(True, False, "")]}


def test_bytes_that_are_wrong_on_one_target_are_restored_from_the_other(monkeypatch) -> None:
    host = Host(monkeypatch, own="a", far="a")
    host.read["own"] = Failed(FAILED, "pg/geo.tar.00000 is damaged", "its hash is another")
    code, why, hint = host.verify()
    assert code == VERIFY_FAILED and "a on own: pg/geo.tar.00000 is damaged" in why
    assert "inv backup, which makes a set that is whole" in hint
    assert host.drilled == ["a from far"]
    assert host.recorded["far"] == [(True, True, "")]
    assert host.recorded["own"][0][0] is False


def test_targets_with_another_latest_set_have_each_their_drill(monkeypatch) -> None:
    host = Host(monkeypatch, own="b", far="a", gone="")
    code, why, _ = host.verify()
    assert code == VERIFY_FAILED and "gone: it is not there" in why
    assert host.drilled == ["b from own", "a from far"]


def test_without_room_for_a_drill_nothing_is_begun(monkeypatch) -> None:
    host = Host(monkeypatch, own="a")
    host.room = raises(Failed(REFUSED, "there is no room for the drill"))
    assert host.verify()[0] == REFUSED
    assert host.recorded == {}


def test_a_check_without_a_drill_reads_only(monkeypatch) -> None:
    host = Host(monkeypatch, own="a")
    assert host.verify(drill=False)[0] == 0
    assert host.drilled == []
    assert host.recorded == {"own": [(True, False, "")]}


def test_a_target_that_never_had_the_set_is_said_and_is_no_failed_check(monkeypatch) -> None:
    host = Host(monkeypatch, own="", usb="A")

    def find(job: Any) -> Any:
        if not host.targets[job.request.source]:
            raise finding.Absent(RESTORE_REFUSED, "no target has the set A", "it is not there", "inv backup.list")
        return Host.find(host, job)

    monkeypatch.setattr(finding, "find", find)
    assert host.verify(drill=False)[0] == VERIFY_FAILED  # of `latest`, each target should have one
    assert host.verify(drill=False, set="A") == (0, "", "")
    assert host.recorded == {"usb": [(True, False, "")] * 2}
    host.targets = {"own": "", "usb": ""}
    assert host.verify(drill=False) == (RESTORE_REFUSED, "own, usb: it is not there", "inv backup.list")


def test_a_target_that_is_away_says_nothing_of_its_sets(monkeypatch) -> None:
    host = Host(monkeypatch, own="A", usb="A")
    away = Failed(RESTORE_REFUSED, "no target has the set A", "usb could not be asked: no route")
    monkeypatch.setattr(
        finding, "find", lambda job: raises(away)() if job.request.source == "usb" else Host.find(host, job)
    )
    with pytest.raises(Failed, match="not everything could be checked") as caught:
        host.verify(drill=False, whole_set=True)
    assert caught.value.code == VERIFY_FAILED
    host.read["own"] = LACKS
    with pytest.raises(Failed, match="a set is not what it should be"):
        host.verify(drill=False, whole_set=True)
