"""A deploy that was cut off is finished by the next one, wherever the cut was.

Three passes, each over a bare host of its own: the connection is dropped, the operator's process is killed, the host is
rebooted (every other time its plug is pulled). A pass cuts inside and after every step of the plan of the bare host, and
before the first step of every role; each run goes on where the one before was cut. (What is before a step is what is
after the one before it.) Then comes a deploy that nobody cuts, and the host must be the same as one on which nothing was
ever cut.

One run takes one of the passes and a third of its places, another one each day, which it prints. `STOWAGE_CUT=KIND` and
`STOWAGE_SHARE=K/N` name them; script/soak takes all.
"""

from __future__ import annotations

import difflib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby

import pytest

from converge.errors import LOCKED, REFUSED, UNREACHABLE
from tests.lab.cut_hosts import Host, Operator, Relay, fresh_clone, likeness
from tests.lab.shares import DAY

SHARES = (0.3, 0.6, 0.85)
"""How far into a step it is killed: the values alternate, with another beginning in each pass."""
PATIENCE = 240
SILENT = ("the API did not answer within", "NotInitialized: ")


def share(asked: str, day: int) -> tuple[int, int]:
    """Which part of how many: as requested, else a third that changes after each pass had its day.

    >>> [share("", day) for day in (20784, 20785, 20787)], share("2/5", 20784)
    ([(1, 3), (1, 3), (2, 3)], (2, 5))
    """
    part, _, parts = (asked or f"{day // 3 % 3}/3").partition("/")
    assert int(part) < int(parts), f"STOWAGE_SHARE={asked}: from 0/{parts} to {int(parts) - 1}/{parts}"
    return int(part), int(parts)


def passes_of(asked: str, day: int, kinds: Sequence[str]) -> list[str]:
    """The passes of a run: as requested, else the one of the day.

    >>> kinds = ["dropped", "killed", "rebooted"]
    >>> [passes_of("", day, kinds) for day in (20784, 20785)], passes_of("killed,rebooted", 20784, kinds)
    ([['dropped'], ['killed']], ['killed', 'rebooted'])
    """
    chosen = asked.split(",") if asked else [kinds[day % len(kinds)]]
    assert set(chosen) <= set(kinds), f"STOWAGE_CUT={asked}: of {','.join(kinds)}"
    return chosen


@dataclass(frozen=True)
class Uncut:
    """An uninterrupted deploy to a bare host: its steps and its result."""

    steps: list[tuple[str, int]]
    roles: dict[str, str]
    took: dict[str, float]
    end: dict[str, list[str]]


@dataclass
class Pass:
    """One pass over one host: the cuts and their output."""

    host: Host
    uncut: Uncut
    turn: int
    cut: Callable[[Pass, Operator, int], None]
    relay: Relay | None = None
    log: list[str] = field(default_factory=list)
    left: list[Operator] = field(default_factory=list)
    waited: int = 0

    def points(self) -> Iterator[tuple[int, str]]:
        role = ""
        for at, (address, _) in enumerate(self.uncut.steps):
            if self.uncut.roles[address] != role:
                role = self.uncut.roles[address]
                yield at, "before"
            yield at, "inside"
            yield at, "after"

    def run(self) -> None:
        part, parts = share(os.environ.get("STOWAGE_SHARE", ""), DAY)
        again = f"STOWAGE_CUT={list(KINDS)[self.turn]} STOWAGE_SHARE={part}/{parts}"
        print(f"{self.host.host}: part {part} of {parts} of all places; again: {again}", flush=True)
        for number, (at, where) in enumerate(self.points()):
            if (number + self.turn) % parts == part:
                self.cut_at(number, at, where)
        for operator in self.left:
            output, _ = operator.communicate(timeout=300)
            assert operator.returncode == UNREACHABLE, output

    def cut_at(self, number: int, at: int, where: str) -> None:
        """A run that is cut at one place; the host may still be busy with the previous run."""
        begun = time.monotonic()
        while True:
            operator, how, output = self.until_cut(at, where)
            # A freshly booted cluster may need longer than a deploy waits: then try again.
            if how or not (
                operator.returncode == LOCKED
                or (operator.returncode == REFUSED and any(text in output for text in SILENT))
            ):
                break
            self.waited += 1
            assert time.monotonic() - begun < PATIENCE, output
            time.sleep(1)
        address, step = self.uncut.steps[at]
        if not how:
            assert operator.returncode == 0, f"{where} {address}:\n{output}"
        else:
            self.cut(self, operator, number)
        self.log.append(
            f"{time.monotonic() - begun:5.1f} s  {where:6} {address} {step}: {how or 'nothing was left to do'}"
        )
        print(self.host.host, self.log[-1], flush=True)

    def until_cut(self, at: int, where: str) -> tuple[Operator, str, str]:
        orders = {
            "steps": self.uncut.steps,
            "at": at,
            "where": where,
            "share": SHARES[(at + self.turn) % 3],
            "seconds": self.uncut.took.get(self.uncut.steps[at][0], 0.1),
            "through": self.relay.port if self.relay else 0,
        }
        operator, output = self.host.operator(**orders), ""
        assert operator.stdout
        for line in operator.stdout:
            if line.startswith("CUT "):
                return operator, json.loads(line[4:]), output
            output += line
        operator.wait(PATIENCE)
        return operator, "", output


def drop(self: Pass, operator: Operator, number: int) -> None:
    assert self.relay
    self.relay.cut()
    output, _ = operator.communicate("go on\n", timeout=300)
    assert operator.returncode == UNREACHABLE, output


def kill(self: Pass, operator: Operator, number: int) -> None:
    operator.kill()
    operator.communicate()


def reboot(self: Pass, operator: Operator, number: int) -> None:
    self.host.hands(*(["reboot"] if number % 2 else ["power_cut", "power_on"]))
    with suppress(BrokenPipeError):
        assert operator.stdin
        operator.stdin.write("go on\n")
        operator.stdin.flush()
    self.left.append(operator)


KINDS = {"dropped": drop, "killed": kill, "rebooted": reboot}
PASSES = passes_of(os.environ.get("STOWAGE_CUT", ""), DAY, list(KINDS))


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, Host]]:
    by_name = {host.host: host for host in fresh_clone("lab-whole", *(f"lab-{kind}" for kind in KINDS))}
    yield by_name
    for host in by_name.values():
        host.inv("lab.down", code=None)


def steps_of_bare(host: Host) -> tuple[list[tuple[str, int]], dict[str, str]]:
    """The steps of the plan of a bare host in their order, and the role of each of its changes."""
    changes = json.loads(host.inv("check", "--json", code=2).splitlines()[-1])["hosts"][0]["changes"]
    output, _ = host.operator(list=True).communicate(timeout=300)
    steps = [tuple(step) for step in json.loads(output.splitlines()[-1].removeprefix("STEPS "))]
    assert [address for address, _ in groupby(address for address, _ in steps)] == [
        change["address"] for change in changes
    ]
    return steps, {change["address"]: change["role"] for change in changes}


@pytest.fixture(scope="module")
def uncut(hosts: dict[str, Host]) -> Uncut:
    """A bare host after one uninterrupted deploy."""
    host = hosts["lab-whole"]
    host.inv("lab.up")
    steps, roles = steps_of_bare(host)
    operator = host.operator()
    output, _ = operator.communicate(timeout=1300)
    assert operator.returncode == 0, output
    took = json.loads(output.splitlines()[-1].removeprefix("TOOK "))
    end = likeness(host)
    host.inv("lab.down")
    return Uncut(steps, roles, took, end)


@pytest.fixture(scope="module")
def passes(request: pytest.FixtureRequest, hosts: dict[str, Host], uncut: Uncut) -> Iterator[dict[str, Future[Pass]]]:
    """The requested passes, in parallel: most of the time a host boots or waits."""
    chosen = [
        item.callspec.params["kind"] for item in request.session.items if "passes" in getattr(item, "fixturenames", ())
    ]
    with ThreadPoolExecutor(len(KINDS)) as pool:
        yield {
            kind: pool.submit(one_pass, hosts[f"lab-{kind}"], uncut, turn, kind)
            for turn, kind in enumerate(KINDS)
            if kind in chosen
        }


def one_pass(host: Host, uncut: Uncut, turn: int, kind: str) -> Pass:
    host.inv("lab.up")
    relay = Relay(host.vars["ansible_port"]) if kind == "dropped" else None
    pass_ = Pass(host, uncut, turn, KINDS[kind], relay)
    pass_.run()
    return pass_


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("kind", PASSES)
def test_a_deploy_that_was_cut_is_finished_by_the_next(
    kind: str, passes: dict[str, Future[Pass]], uncut: Uncut
) -> None:
    done = passes[kind].result()
    print("\n".join(done.log))
    done.host.inv("deploy", "--yes")
    assert "nothing to do" in done.host.inv("check")
    end = likeness(done.host)
    differs = [
        line
        for section, lines in uncut.end.items()
        for line in difflib.unified_diff(lines, end[section], f"whole {section}", kind, n=0, lineterm="")
    ]
    assert not differs, "\n".join(differs)
    inside = [line for line in done.log if " inside " in line]
    killed = [line for line in inside if "inside-137" in line or line.endswith(": inside")]
    assert len(killed) > len(inside) / 3, "most steps are killed inside, not before and not after"
    done.host.inv("lab.down")
