"""The probe: one script for all kinds, in which no kind can damage another's answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from converge.engine import probe
from converge.engine.resource import Resource, Unknown

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
        return [{"text": line} if line else None for line in lines[: len(wanted)]]


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
    assert readings["last:one"] == {"text": "well"}


@pytest.mark.parametrize("status", [1, 3, 127, 255])
def test_a_snippet_that_fails_makes_its_kind_unknown_never_absent(machine, status):
    odd = kind("odd", f"echo half; exit {status}")
    readings, _ = probe.read([odd, LAST], answer_of(machine, odd, LAST), MARKER)
    assert readings["odd:one"] == Unknown(f"reading odd ended with status {status}")


def test_a_status_that_a_kind_names_is_an_answer(machine):
    odd = kind("odd", "echo half; exit 2", statuses=(0, 2))
    readings, _ = probe.read([odd, LAST], answer_of(machine, odd, LAST), MARKER)
    assert readings == {"odd:one": {"text": "half"}, "last:one": {"text": "well"}}


def test_a_kind_that_asks_nothing_itself_starts_nothing_and_is_read(machine):
    silent = kind("silent", "")
    assert "( " not in probe.script([silent], MARKER)
    readings, _ = probe.read([silent, LAST], answer_of(machine, silent, LAST), MARKER)
    assert readings == {"silent:one": None, "last:one": {"text": "well"}}


def test_an_answer_without_line_end_is_read_whole(machine):
    odd = kind("odd", "printf 'no end'")
    readings, _ = probe.read([odd], answer_of(machine, odd), MARKER)
    assert readings["odd:one"] == {"text": "no end"}


def test_an_answer_cut_anywhere_is_unknown_or_whole_never_something_else(machine):
    resources = [kind("first", "echo a"), kind("odd", "echo b; exit 3"), LAST]
    answer = answer_of(machine, *resources)
    complete, _ = probe.read(resources, answer, MARKER)
    for at in range(len(answer)):
        readings, _ = probe.read(resources, answer[:at], MARKER)
        for address, reading in readings.items():
            assert isinstance(reading, Unknown) or reading == complete[address], f"cut at {at}"


@pytest.mark.parametrize(
    "error", [ValueError("odd"), KeyError("odd"), IndexError("odd"), AttributeError("odd"), TypeError("odd")]
)
def test_an_answer_that_is_not_understood_is_unknown(error):
    def read(cls, wanted, answer):
        raise error

    odd = kind("odd", "", read=classmethod(read))
    readings, _ = probe.read([odd, LAST], f"x\n{MARKER} 0\nwell\n\n{MARKER} 0\n", MARKER)
    assert "was not understood" in readings["odd:one"].why
    assert readings["last:one"] == {"text": "well"}


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


def numbers(names):
    return f"seq {names[0]}"


def hurt(names):
    return "echo half; kill -9 $(sh -c 'echo $PPID'); echo whole"


@dataclass(frozen=True)
class Sharing(Kind):
    """A kind that shares a question with others; its state is the number of lines and the last line of the answer."""

    asks: ClassVar = numbers
    about: str = "3"

    @classmethod
    def common_questions(cls, wanted):
        return {cls.asks: [resource.about for resource in wanted]}

    @classmethod
    def read(cls, wanted, answer, *shared):
        lines = shared[0].split()
        return [{"lines": str(len(lines)), "last": lines[-1], "itself": answer.strip()} for _ in wanted]


def sharing(named, text, ask=numbers, **more):
    return type(named.title(), (Sharing,), {"kind": named, "snippet": text, "asks": staticmethod(ask)})(**more)


@pytest.mark.parametrize("text", ["", 'printf "%s" "$numbers" | tail -n 1', "echo ${numbers%%[!0-9]*}"])
def test_a_shared_question_is_answered_whole_beside_what_all_kinds_say_themselves(machine, text):
    # More than a pipe holds: the background snippet waits for the others, and none waits for it.
    odd = sharing("odd", text, about="100000")
    spoilt = [kind("reads", "cat"), kind("ends", "exit 0")]
    readings, _ = probe.read([odd, *spoilt, LAST], answer_of(machine, odd, *spoilt, LAST), MARKER)
    itself = {"": "", "p": "100000", "e": "1"}[text[:1]]
    assert readings["odd:one"] == {"lines": "100000", "last": "100000", "itself": itself}
    assert readings["last:one"] == {"text": "well"}


@pytest.mark.parametrize("text", ["", "echo $hurt"])
def test_a_shared_question_that_fails_makes_who_asked_it_unknown_and_nobody_else(machine, text):
    odd = sharing("odd", text, hurt)
    readings, _ = probe.read([odd, LAST], answer_of(machine, odd, LAST), MARKER)
    assert isinstance(readings["odd:one"], Unknown)
    assert readings["last:one"] == {"text": "well"}


def test_several_shared_questions_do_not_mix(machine):
    def letters(names):
        return "sleep 0.2; echo a b c"

    ones = [sharing("ones", "echo mine"), sharing("others", "", letters)]
    readings, _ = probe.read(ones, answer_of(machine, *ones), MARKER)
    assert readings["ones:one"] == {"lines": "3", "last": "3", "itself": "mine"}
    assert readings["others:one"] == {"lines": "3", "last": "c", "itself": ""}


def early(names):
    return "echo pids of " + " ".join(names)


def late(names):
    return "sleep 0.2; echo $early"


def other(names):
    return "echo other"


def test_a_question_may_use_the_answer_of_another_and_is_asked_while_the_rest_is_read(machine):
    resource = kind(
        "asking",
        "echo own",
        common_questions=classmethod(lambda cls, wanted: {other: ["x"], late: ["y"], early: ["a", "b"]}),
        read=classmethod(lambda cls, wanted, answer, *shared: [{"told": " ".join(map(str.strip, (answer, *shared)))}]),
    )
    readings, _ = probe.read([resource, LAST], answer_of(machine, resource, LAST), MARKER)
    assert readings["asking:one"] == {"told": "own other pids of a b pids of a b"}
    assert readings["last:one"] == {"text": "well"}


def test_what_needs_no_answer_is_read_while_a_question_waits_for_its_own(machine, tmp_path):
    def slow(names):
        return f"n=0; until [ -e {tmp_path}/read ] || [ $n = 50 ]; do n=$((n + 1)); sleep 0.1; done; echo $n"

    needing, free = sharing("needing", "echo $slow", slow), kind("free", f": >{tmp_path}/read; echo well")
    readings, _ = probe.read([needing, free], answer_of(machine, needing, free), MARKER)
    assert readings["free:one"] == {"text": "well"}
    assert int(readings["needing:one"]["itself"]) < 50


@pytest.mark.parametrize("lost", ["", "half an answer"])
def test_a_question_that_was_cut_moves_no_other_answer(machine, lost):
    def cut(names):
        return lost

    odd = sharing("odd", "echo $cut", cut)
    script = probe.script([odd, LAST], MARKER)
    _, answer = machine.run(script.replace(f"( {lost}\n) </dev/null 2>/dev/null\nprintf", f"printf '{lost}'; : printf"))
    readings, _ = probe.read([odd, LAST], answer, MARKER)
    assert isinstance(readings["odd:one"], Unknown)
    assert readings["last:one"] == {"text": "well"}
