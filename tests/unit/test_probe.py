"""The probe: one script for everything, in which no kind can spoil another's answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from converge import probe
from converge.resource import Resource, Unknown

MARKER = "probe-1234"


@dataclass(frozen=True)
class Kind(Resource):
    """A kind whose snippet is given; it reads one line for each instance."""

    snippet: ClassVar[str] = "echo well"
    of: str = "one"

    @property
    def name(self) -> str:
        return self.of

    @classmethod
    def probe(cls, wanted):
        return cls.snippet

    @classmethod
    def read(cls, wanted, answer):
        lines = [*answer.splitlines(), *[""] * len(wanted)]
        return [{"said": line} if line else None for line in lines[: len(wanted)]]


def kind(named: str, text: str, **methods):
    return type(named.title(), (Kind,), {"kind": named, "snippet": text, **methods})()


LAST = kind("last", "echo well")


def answer_of(machine, *resources):
    status, answer = machine.run(probe.script(resources, MARKER))
    assert status == 0
    return answer


@pytest.mark.parametrize(
    "snippet",
    [
        "exit 0",
        "exit 9",
        "cat",
        "set -e; false",
        "cd /nowhere",
        "exec true",
        "set -u; echo $nothing",
        "echo loud >&2",
        "printf open",
        "kill -9 $(sh -c 'echo $PPID')",
    ],
)
def test_no_snippet_can_spoil_the_answers_of_other_kinds(machine, snippet):
    readings = probe.read([kind("odd", snippet), LAST], answer_of(machine, kind("odd", snippet), LAST), MARKER)[0]
    assert readings["last:one"] == {"said": "well"}


@pytest.mark.parametrize("status", [1, 3, 127, 255])
def test_a_snippet_that_fails_makes_its_kind_unknown_never_absent(machine, status):
    odd = kind("odd", f"echo half; exit {status}")
    readings, _ = probe.read([odd, LAST], answer_of(machine, odd, LAST), MARKER)
    assert readings["odd:one"] == Unknown(f"reading odd ended with status {status}")


def test_an_answer_without_line_end_is_read_whole(machine):
    odd = kind("odd", "printf 'no end'")
    readings, _ = probe.read([odd], answer_of(machine, odd), MARKER)
    assert readings["odd:one"] == {"said": "no end"}


def test_an_answer_cut_anywhere_is_unknown_or_whole_never_something_else(machine):
    resources = [kind("first", "echo a"), kind("odd", "echo b; exit 3"), LAST]
    answer = answer_of(machine, *resources)
    whole, _ = probe.read(resources, answer, MARKER)
    for at in range(len(answer)):
        readings, _ = probe.read(resources, answer[:at], MARKER)
        for address, reading in readings.items():
            assert isinstance(reading, Unknown) or reading == whole[address], f"cut at {at}"


@pytest.mark.parametrize(
    "error", [ValueError("odd"), KeyError("odd"), IndexError("odd"), AttributeError("odd"), TypeError("odd")]
)
def test_an_answer_that_is_not_understood_is_unknown(error):
    def read(cls, wanted, answer):
        raise error

    odd = kind("odd", "", read=classmethod(read))
    readings, _ = probe.read([odd, LAST], f"x\n{MARKER} 0\nwell\n\n{MARKER} 0\n", MARKER)
    assert "was not understood" in readings["odd:one"].why
    assert readings["last:one"] == {"said": "well"}


def test_an_answer_for_too_few_is_unknown():
    few = type("Few", (Kind,), {"kind": "few", "read": classmethod(lambda cls, wanted, answer: [None])})
    readings, _ = probe.read([few("one"), few("two")], f"\n{MARKER} 0\n\n{MARKER} 0\n", MARKER)
    assert [type(readings[f"few:{name}"]) for name in ("one", "two")] == [Unknown, Unknown]


def test_a_kind_is_asked_once_for_all_of_its_resources(machine):
    many = [type(LAST)(str(n)) for n in range(50)]
    type(LAST).snippet, text = "echo asked", type(LAST).snippet
    try:
        assert answer_of(machine, *many).count("asked") == 1
    finally:
        type(LAST).snippet = text


def test_what_the_host_remembers_is_told_by_address(machine):
    stowage = machine.folder / "stowage"
    stowage.mkdir()
    (stowage / "applied").write_text("base 0123abcd file:/etc/a b.conf\nminio ffff thing:one\nrubbish\n")
    _, memory = probe.read([LAST], answer_of(machine, LAST), MARKER)
    assert memory == {"file:/etc/a b.conf": "base 0123abcd", "thing:one": "minio ffff"}


def test_a_bare_host_remembers_nothing(machine):
    assert probe.read([LAST], answer_of(machine, LAST), MARKER)[1] == {}


def test_what_only_an_api_can_read_is_not_in_the_script():
    remote = kind("remote", "echo never", ask=classmethod(lambda cls, link, wanted: []))
    assert "never" not in probe.script([remote, LAST], MARKER)
    assert list(probe.kinds([remote, LAST])) == [type(LAST)]
