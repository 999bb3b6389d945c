"""Whether a service answers, asked where it listens: within the network of its container, so that no port need be published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from converge.engine.resource import Reading, Resource, Shell, State, Step, Unknown
from converge.record import dataclass
from converge.resources.before import Before
from converge.resources.compose import UNPROVEN, Project
from converge.resources.docker import CommonQuestions, each_running, inspect
from converge.shell import quote, quote_all, sh

_WELL = ("2", "3")
"""First digits of the HTTP status of a program that is well."""
_SILENT = "no answer"
PATIENCE = 5
"""Seconds for one answer: so long may a service that hangs hold up a check."""
LAST_WORDS = 10
"""Lines of a container's log shown below the reason; few, so that the reason stays on the screen."""
_CANNOT_RUN = ("125", "126", "127")
"""What `docker exec` ends with when there is no such command in the container."""


def run_inside(container: str, command: Sequence[str]) -> str:
    """Shell that runs a command in a container, silently; 124 where it did not end in time.

    `timeout` ends only the client of Docker: what it had started in the container would stay for good. It is
    recognised by an environment variable of its own.
    """
    run = f"timeout -k 1 {PATIENCE} docker exec -e STOWAGE_ASKED=$asked {quote(container)} {quote_all(command)}"
    kill = 'grep -lsF "STOWAGE_ASKED=$asked" /proc/[0-9]*/environ | cut -d / -f 3 | xargs -r kill -9'
    return f"""( read -r asked </proc/sys/kernel/random/uuid; {run} >/dev/null 2>&1 </dev/null && exit; ended=$?
case $ended in 124|137) set +f; {kill}; exit 124;; esac; exit $ended )"""


def asked(asks: Sequence[str]) -> str:
    """All questions to services at once, while the rest of the host is read: a check takes as long as the slowest of them.

    Each is `CONTAINER SHELL`, whose output is its answer.
    """
    cases: dict[str, str] = {}
    for container, _, ask in (line.partition(" ") for line in asks):
        cases[container] = "\n".join(filter(None, (cases.get(container), f"( {ask} ) &")))
    return f"{each_running(f'${inspect.__name__}', cases)}\ndone; wait; exit 0"


def _answers(output: str) -> dict[str, str]:
    """The answers by the address of the resource that asked."""
    return dict(line.split("\t", 1) for line in output.splitlines() if "\t" in line)


@dataclass(frozen=True)
class Question:
    """One of three: HTTP at a port and path, a TCP port, or a command in the container that ends with 0."""

    http: str = ""
    tcp: int = 0
    command: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"http://{self.http}" if self.http else f"port {self.tcp}" if self.tcp else " ".join(self.command)

    def ask(self, container: str) -> str:
        """Shell that prints a line: an HTTP status, or 200; `$pid` is the main process of the container."""
        within = "nsenter -t $pid -n"
        if self.http:
            url = quote(f"http://127.0.0.1{self.http}")
            return f"timeout {PATIENCE + 1} {within} curl -q -s -o /dev/null --noproxy '*' --connect-timeout 2 -m {PATIENCE} -w '%{{http_code}}\\n' {url} || :"
        opened = f"timeout 3 {within} bash -c {quote(f': </dev/tcp/127.0.0.1/{self.tcp}')}"
        run = f"{opened} >/dev/null 2>&1" if self.tcp else run_inside(container, self.command)
        return f"if {run}; then echo 200; else echo 000; fi"


@dataclass(frozen=True)
class Serving(Resource):
    """A service whose container gives the right answer, within some seconds after it was started."""

    kind: ClassVar[str] = "answers"
    way_out: ClassVar[str] = "inv status; inv logs --service {container}"
    container: str
    question: Question
    within: int = 60
    after: tuple[Step, ...] = ()
    """Steps that prove more than an answer, once it answers."""

    @property
    def name(self) -> str:
        return self.container

    def desired(self) -> State:
        return {str(self.question): "well", "proven": "yes"}

    def stands_on(self) -> tuple[str, ...]:
        return (f"container:{self.container}",)

    @classmethod
    def probe(cls, wanted: Sequence[Serving]) -> str:
        marks = quote_all(f"{UNPROVEN}/{serving.container}" for serving in wanted)
        return f"for mark in {marks}; do [ ! -e $mark ] || echo $mark; done"

    @classmethod
    def common_questions(cls, wanted: Sequence[Serving]) -> CommonQuestions:
        return {inspect: [serving.container for serving in wanted], asked: [serving._asks() for serving in wanted]}

    def _asks(self) -> str:
        command = f"answer=$({self.question.ask(self.container)})"
        return f"{self.container} {command}; printf '%s\\t%s\\n' {quote(self.address)} \"$answer\""

    @classmethod
    def read(cls, wanted: Sequence[Serving], answer: str, *shared: str) -> list[Reading]:
        lines, answers = answer.splitlines(), _answers(shared[1])
        return [
            serving._state(answers.get(serving.address), f"{UNPROVEN}/{serving.container}" in lines)
            for serving in wanted
        ]

    def _state(self, status: str | None, unproven: bool) -> Reading:
        if status is None:
            return None
        verdict = "well" if status.startswith(_WELL) else _SILENT if status.strip("0") == "" else status
        return {str(self.question): verdict, "proven": "no" if unproven else "yes"}

    def silence(self, before: State | None) -> str:
        """What is wrong with its answer, in words; empty where it is well or was not asked."""
        verdict = (before or {}).get(str(self.question), "well")
        if verdict == "well":
            return ""
        return f"does not answer to {self.question}" if verdict == _SILENT else f"answers {verdict} to {self.question}"

    def undone_by(self, other: Resource, made: bool) -> bool:
        return (
            isinstance(other, Project)
            or other.address == f"loaded:{self.container}"
            or (isinstance(other, Before) and other.container == self.container)
        )

    def note(self, before: State | None) -> str:
        return f"waits up to {self.within} s"

    def fix(self, before: State | None) -> list[Step]:
        return [Shell(self.waits()), *self.after, Shell(f"rm -f {UNPROVEN}/{quote(self.container)}")]

    def waits(self) -> str:
        """Shell that waits until it answers; otherwise it prints the last lines of the container's log and ends with 1."""
        return f"""
n=0 until=$(($(date +%s) + {self.within}))
while :; do
  pid=$({sh("docker inspect -f {} -- {}", "{{.State.Pid}}", self.container)}) || exit 1
  answer=000; [ "$pid" = 0 ] || answer=$({self.question.ask(self.container)})
  case $answer in {"|".join(f"{prefix}*" for prefix in _WELL)}) break;; esac
  n=$((n + 1)); [ "$(date +%s)" -lt $until ] || {{
    echo "no answer to {self.question} after {self.within} s ($answer); its last words:"
    {sh("docker logs --tail {} -- {} 2>&1", LAST_WORDS, self.container)}
    exit 1
  }}
  [ $((n % 8)) != 0 ] || echo "waiting for {self.container}: $answer"
  sleep 1
done"""


@dataclass(frozen=True)
class Once(Resource):
    """A command that is run in a container unless another says that it has been done."""

    kind: ClassVar[str] = "once"
    container: str
    label: str
    command: tuple[str, ...]
    unless: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.container} {self.label}"

    def desired(self) -> State:
        return {"done": "yes"}

    def stands_on(self) -> tuple[str, ...]:
        return (f"container:{self.container}", f"answers:{self.container}")

    @classmethod
    def probe(cls, wanted: Sequence[Once]) -> str:
        return ""

    @classmethod
    def common_questions(cls, wanted: Sequence[Once]) -> CommonQuestions:
        return {inspect: [once.container for once in wanted], asked: [once._asks() for once in wanted]}

    def _asks(self) -> str:
        done = f"ended=0; {run_inside(self.container, self.unless)} || ended=$?"
        return f"{self.container} {done}; printf '%s\\t%s\\n' {quote(self.address)} $ended"

    @classmethod
    def read(cls, wanted: Sequence[Once], answer: str, *shared: str) -> list[Reading]:
        answers = _answers(shared[1])
        return [once._state(answers.get(once.address)) for once in wanted]

    def _state(self, ended: str | None) -> Reading:
        """It is run only when its check says no; a check that hangs or cannot be run says nothing."""
        if ended == "124" or ended in _CANNOT_RUN:
            why = f"it did not end within {PATIENCE} s" if ended == "124" else "the container cannot run it"
            hint = f"on the host: docker exec {quote(self.container)} {quote_all(self.unless)}"
            return Unknown(f"its check, unless, says nothing: {why}", hint)
        return None if ended is None else {"done": "yes" if ended == "0" else "no"}

    def fix(self, before: State | None) -> list[Step]:
        done, run = run_inside(self.container, self.unless), sh("docker exec {}", self.container)
        return [
            Shell(f"""
ended=0; {done} || ended=$?
case $ended in 0) exit 0;; 124|{"|".join(_CANNOT_RUN)}) echo "its check, unless, says nothing ($ended): it is not run"; exit 1;; esac
{run} {quote_all(self.command)}
{done} || {{ echo 'it ran, and its check still says no'; exit 1; }}""")
        ]
