"""Whether a service answers, asked where it listens: within the network of its container, so that no port need be published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from converge.engine.resource import Reading, Resource, Shell, State, Step
from converge.resources.compose import UNPROVEN, Project
from converge.resources.docker import Shares, each_running, inspect
from converge.shell import quote, sh, words

_WELL = ("2", "3")
"""First digits of the HTTP status of a program that is well."""


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
            return f"timeout 6 {within} curl -q -s -o /dev/null --noproxy '*' --connect-timeout 2 -m 5 -w '%{{http_code}}\\n' {url} || :"
        opened = f"timeout 3 {within} bash -c {quote(f': </dev/tcp/127.0.0.1/{self.tcp}')}"
        run = opened if self.tcp else f"timeout 10 docker exec {quote(container)} {words(self.command)}"
        return f"if {run} >/dev/null 2>&1; then echo 200; else echo 000; fi"


@dataclass(frozen=True)
class Serving(Resource):
    """A service whose container gives the right answer, within some seconds after it was started."""

    kind: ClassVar[str] = "answers"
    container: str
    question: Question
    within: int = 60

    @property
    def name(self) -> str:
        return self.container

    def desired(self) -> State:
        return {str(self.question): "well", "proven": "yes"}

    def stands_on(self) -> tuple[str, ...]:
        return (f"container:{self.container}",)

    @classmethod
    def probe(cls, wanted: Sequence[Serving]) -> str:
        asks = {
            one.container: f"( said=$({one.question.ask(one.container)}); echo {quote(one.container)} $said ) &"
            for one in wanted
        }
        marks = f"for mark in {words(f'{UNPROVEN}/{one.container}' for one in wanted)}; do [ ! -e $mark ] || echo $mark; done"
        return f"{marks}\n{each_running(f'${inspect.__name__}', asks)}\ndone; wait; exit 0"

    @classmethod
    def shares(cls, wanted: Sequence[Serving]) -> Shares:
        return {inspect: [one.container for one in wanted]}

    @classmethod
    def read(cls, wanted: Sequence[Serving], answer: str, *shared: str) -> list[Reading]:
        lines = answer.splitlines()
        told = dict(line.split(" ", 1) for line in lines if " " in line)
        return [one._state(told.get(one.container), f"{UNPROVEN}/{one.container}" in lines) for one in wanted]

    def _state(self, status: str | None, unproven: bool) -> Reading:
        if status is None:
            return None
        said = "well" if status.startswith(_WELL) else "no answer" if status.strip("0") == "" else status
        return {str(self.question): said, "proven": "no" if unproven else "yes"}

    def undone_by(self, other: Resource, made: bool) -> bool:
        return isinstance(other, Project) or other.address == f"loaded:{self.container}"

    def note(self, before: State | None) -> str:
        return f"waits up to {self.within} s"

    def fix(self, before: State | None) -> list[Step]:
        return [Shell(f"{self.waits()}\nrm -f {UNPROVEN}/{quote(self.container)}")]

    def waits(self) -> str:
        """Shell that waits until it answers; otherwise it says the last words of the container and ends with 1."""
        return f"""
n=0
while :; do
  pid=$({sh("docker inspect -f {} -- {}", "{{.State.Pid}}", self.container)}) || exit 1
  said=000; [ "$pid" = 0 ] || said=$({self.question.ask(self.container)})
  case $said in {"|".join(f"{one}*" for one in _WELL)}) break;; esac
  n=$((n + 1)); [ $n -lt {self.within} ] || {{
    echo "no answer to {self.question} after {self.within} s ($said); its last words:"
    {sh("docker logs --tail 12 -- {} 2>&1", self.container)}
    exit 1
  }}
  [ $((n % 8)) != 0 ] || echo "waiting for {self.container}: $said"
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
        asks: dict[str, str] = {}
        for number, one in enumerate(wanted):
            run = sh("timeout 10 docker exec {}", one.container) + f" {words(one.unless)} >/dev/null 2>&1"
            ask = f"( if {run}; then echo {number} yes; else echo {number} no; fi ) &"
            asks[one.container] = "\n".join(filter(None, (asks.get(one.container), ask)))
        return f"{each_running(f'${inspect.__name__}', asks)}\ndone; wait; exit 0"

    @classmethod
    def shares(cls, wanted: Sequence[Once]) -> Shares:
        return {inspect: [one.container for one in wanted]}

    @classmethod
    def read(cls, wanted: Sequence[Once], answer: str, *shared: str) -> list[Reading]:
        told = dict(line.split(" ", 1) for line in answer.splitlines() if " " in line)
        return [{"done": told[str(at)]} if str(at) in told else None for at in range(len(wanted))]

    def undone_by(self, other: Resource, made: bool) -> bool:
        return False

    def fix(self, before: State | None) -> list[Step]:
        inside = sh("docker exec {}", self.container)
        done = f"{inside} {words(self.unless)} >/dev/null 2>&1"
        return [
            Shell(
                f"{done} || {{ {inside} {words(self.command)}\n{done} || {{ echo 'it ran, and its check still says no'; exit 1; }}; }}"
            )
        ]
