"""Services that must answer, and commands that must have been run: each checked within a time limit."""

from __future__ import annotations

import time

import pytest

from converge.engine.resource import Unknown
from converge.resources import serving
from converge.resources.serving import Once, Question, Serving

HTTP, TCP, COMMAND = Question(http=":80/health"), Question(tcp=6379), Question(command=("redis-cli", "ping"))


HELLO = Once("cache", "hello", ("redis-cli", "set", "hello", "world"), ("redis-cli", "exists", "hello"))


@pytest.fixture
def inside(machine, docker):
    """Sets how the container answers: `script` to `docker exec`, `network` over its network."""
    docker.runs("cache")
    machine.program("nsenter", "exit 1")

    def does(script: str, network: str = "exit 1") -> None:
        docker.answers(True, f'case $1 in exec) {script};; logs) echo "its last words";; esac')
        machine.program("nsenter", network)

    return does


@pytest.mark.parametrize(
    ("question", "command", "network", "silence"),
    [
        (COMMAND, "exit 0", "exit 1", ""),
        (COMMAND, "exit 1", "exit 0", "does not answer to redis-cli ping"),
        (TCP, "exit 1", "exit 0", ""),
        (TCP, "exit 0", "exit 1", "does not answer to port 6379"),
        (HTTP, "exit 1", "echo 204", ""),
        (HTTP, "exit 1", "echo 302", ""),
        (HTTP, "exit 0", "echo 500", "answers 500 to http://:80/health"),
        (HTTP, "exit 0", "echo 000", "does not answer to http://:80/health"),
    ],
)
def test_a_service_is_asked_its_own_question_alone(machine, inside, question, command, network, silence):
    inside(command, network)
    wanted = Serving("cache", question)
    (reading,) = machine.read(wanted)
    assert wanted.silence(reading) == silence
    assert machine.plan(wanted).in_sync is not bool(silence)


def test_who_does_not_run_is_not_asked(machine, docker):
    docker.runs("cache", status="restarting", pid=0)
    docker.answers(True, "sleep 60")
    assert machine.read(Serving("cache", COMMAND), Once("cache", "hello", ("a",), ("b",))) == [None, None]


@pytest.fixture
def hurried(monkeypatch):
    monkeypatch.setattr(serving, "PATIENCE", 1)


def test_those_who_hang_are_given_up_at_the_same_moment(machine, docker, inside, hurried):
    inside("sleep 60", "sleep 60")
    for name in ("one", "two", "three"):
        docker.runs(name)
    wanted = [Serving("one", COMMAND), Serving("two", COMMAND), Serving("three", COMMAND)]
    begun = time.monotonic()
    assert [resource.silence(state) for resource, state in zip(wanted, machine.read(*wanted), strict=True)] == [
        "does not answer to redis-cli ping"
    ] * 3
    assert time.monotonic() - begun < 4


def test_answers_and_checks_that_hang_are_waited_for_together(machine, docker, inside, hurried):
    """Kinds asked one after the other took the sum of their limits."""
    inside("sleep 60", "sleep 60")
    begun = time.monotonic()
    readings = machine.read(Serving("cache", COMMAND), HELLO, Once("cache", "again", ("a",), ("b",)))
    assert time.monotonic() - begun < 1.8
    assert readings[0]["redis-cli ping"] == "no answer" and all(
        isinstance(reading, Unknown) for reading in readings[1:]
    )


def test_what_a_hanging_question_has_started_in_the_container_is_ended(machine, inside, hurried, tmp_path):
    """`timeout` only ends Docker's client: each check once left a process in the container."""
    left = tmp_path / "left"
    inside(f'export "$3"; setsid sleep 50 & echo $! >{left}; wait')
    machine.read(Serving("cache", COMMAND))
    # It may still be a zombie, but it runs no command any more.
    goes_on = f"cat /proc/{left.read_text().strip()}/cmdline 2>/dev/null"
    assert machine.run(f"sleep 0.5; {goes_on}")[1].strip("\0") == ""


def test_the_time_is_kept_when_each_question_hangs(machine, inside, hurried):
    """`within` once counted questions: at ten seconds each, a minute became ten."""
    inside("sleep 60")
    begun = time.monotonic()
    done = machine.deploy(Serving("cache", COMMAND, within=2))
    assert done.failed
    assert time.monotonic() - begun < 6
    assert "no answer to redis-cli ping after 2 s" in done.why


def test_the_reason_stands_above_the_last_words_of_a_talkative_service(machine, docker, inside):
    docker.answers(True, 'case $1 in exec) exit 1;; logs) [ "$2" = --tail ]; yes words | head -n $3;; esac')
    why = machine.deploy(Serving("cache", COMMAND, within=1)).why
    assert "no answer to redis-cli ping" in why
    assert "words" in why


@pytest.mark.parametrize(("ended", "symbol"), [(0, " "), (1, "~"), (2, "~"), (126, "?"), (127, "?")])
def test_a_command_is_run_only_when_its_check_says_no(machine, docker, inside, ended, symbol):
    inside(f"exit {ended}")
    assert machine.plan(HELLO).changes[0].action.value == symbol
    machine.deploy(HELLO)
    assert ("exec cache redis-cli set hello world" in docker.calls) is (symbol == "~")


def test_a_check_that_hangs_has_not_said_no(machine, inside, hurried):
    inside("sleep 60")
    (reading,) = machine.read(HELLO)
    assert isinstance(reading, Unknown)
    assert "did not end within 1 s" in reading.why
    assert "docker exec cache redis-cli exists hello" in reading.hint


def test_a_command_that_leaves_its_check_unmoved_is_a_failure(machine, inside):
    inside("case $* in *exists*) exit 1;; *) exit 0;; esac")
    assert "its check still says no" in machine.deploy(HELLO).why
