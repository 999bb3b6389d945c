"""The probe: all resources of all roles read by one script, in one round trip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from converge.engine.resource import Reading, Resource, Unknown
from converge.shell import sh

MEMORY = "/var/lib/stowage/applied"
"""A line for each resource that a deploy made: its role, a hash of what it was made to be, its address."""
BEGUN = "begun"
"""Stands for the hash while the resource is being made."""
LINES = 3
"""Questions that wait for no other are asked in so many lines at once: more would be more pipes than a host has processors for."""

Questions = dict[Callable[[Sequence[str]], str], list[str]]
"""Questions that several kinds share, each with the names that it asks about."""


def forgetting(address: str) -> str:
    """The command, on the host, that makes it forget a thing that has disappeared, so that a deploy may make it anew."""
    line = address.replace(".", "[.]")
    return sh("sed -i {} {}", f"\\| {line}$|d", MEMORY)


def kinds(resources: Sequence[Resource]) -> dict[type[Resource], list[Resource]]:
    """The resources that a shell can read, by kind, in the order in which the kinds first occur."""
    by_kind: dict[type[Resource], list[Resource]] = {}
    for resource in resources:
        if not resource.is_api():
            by_kind.setdefault(type(resource), []).append(resource)
    return by_kind


class Probe:
    """What is asked of a host about resources: one script, and what its answer means."""

    def __init__(self, resources: Sequence[Resource]) -> None:
        self.resources = resources
        self.kinds = kinds(resources)
        asks = {kind: kind.probe(of_kind) for kind, of_kind in self.kinds.items()}
        shared = _shared(self.kinds)
        texts = {ask: ask(names) for ask, names in shared.items()}
        all_shell: dict[Any, str] = {**asks, **texts}
        self.first = {
            ask: text
            for ask, text in texts.items()
            if any(_needs(other, [ask]) for asking, other in all_shell.items() if asking is not ask)
        }
        """Questions that kinds share, whose answer a probe or another question takes from a shell variable of that name; they need none."""
        others = {ask: text for ask, text in texts.items() if ask not in self.first}
        self.behind = {ask: text for ask, text in others.items() if _needs(text, self.first)}
        """Shared questions that need such an answer."""
        self.at_once = {ask: text for ask, text in reversed(others.items()) if ask not in self.behind}
        """The other shared questions, the last one begun first: it asks a service, which takes longest."""
        self.free = {kind: text for kind, text in asks.items() if not _needs(text, self.first)}
        """Probes of kinds that need no shared answer."""
        self.bound = {kind: text for kind, text in asks.items() if kind not in self.free}

    def script(self, marker: str) -> str:
        """The script that reads everything. Each answer ends in a line with the marker and its exit status.

        A kind runs in a subshell with nothing on its standard input, so that it can end neither the probe nor read it. A
        question that kinds share is asked while all else is read: only what needs its answer on the host waits for it.
        """
        memory = f"cat {MEMORY} 2>/dev/null\nprintf '\\n{marker} 0\\n'"
        bound = "\n".join([*(_part(text, marker) for text in self.bound.values()), memory])
        waiting = [_waiting_for(ask.__name__, at, marker) for at, ask in enumerate(self.first, 3)]
        free = [_part(text, marker) for text in self.free.values()]
        everything = "\n".join([*free, *waiting, _beside(bound, [*self.behind.values()], marker)])
        for at, text in enumerate(self.first.values(), 3):
            everything = f"{{ {_section(text, marker)}\n}} | {{ exec {at}<&0\n{everything}\n}}"
        return _beside(everything, [*self.at_once.values()], marker)

    def read(self, answer: str, marker: str) -> tuple[dict[str, Reading], dict[str, str]]:
        """The reading of every resource by address, and what the host remembers of earlier deploys."""
        answers, cut = _split(answer, marker), ("", None)
        answered: dict[Any, tuple[str, int | None]] = {
            question: next(answers, cut) for question in (*self.free, *self.first, *self.bound)
        }
        memory, _ = next(answers, cut)
        answered |= {ask: next(answers, cut) for ask in (*self.behind, *self.at_once)}
        readings: dict[str, Reading] = {}
        for kind, of_kind in self.kinds.items():
            texts = [answered[kind], *(answered[ask] for ask in kind.common_questions(of_kind))]
            readings.update(
                zip((resource.address for resource in of_kind), _read_kind(kind, of_kind, texts), strict=True)
            )
        return readings, _memory(memory)


def script(resources: Sequence[Resource], marker: str) -> str:
    """The script that reads these resources."""
    return Probe(resources).script(marker)


def read(resources: Sequence[Resource], answer: str, marker: str) -> tuple[dict[str, Reading], dict[str, str]]:
    """What the answer of that script means."""
    return Probe(resources).read(answer, marker)


def _waiting_for(name: str, pipe: int, marker: str) -> str:
    """Shell that waits for an answer, prints it and keeps it in the variable of its name. An answer that was cut off has no status."""
    return (
        f"{name}=$(cat <&{pipe})\ncase ${name} in *'{marker} '*) ;; *) {name}='\n{marker} cut';; esac\n"
        f"printf '%s\\n' \"${name}\"; {name}=${{{name}%'\n{marker} '*}}"
    )


def _beside(rest: str, texts: Sequence[str], marker: str) -> str:
    """The script that asks these questions while the rest is read. Their answers wait in pipes until all before them is printed."""
    per_line = -(-len(texts) // LINES)
    for at in range(0, len(texts), per_line or 1):
        line = "\n".join(_section(text, marker) for text in texts[at : at + per_line])
        rest = f"{{ {line}\n}} | {{ {rest}\ncat; }}"
    return rest


def _needs(text: str, questions: Iterable[Callable[[Sequence[str]], str]]) -> bool:
    """Whether shell takes the answer of one of these from the variable of its name."""
    return any(f"${ask.__name__}" in text or f"${{{ask.__name__}" in text for ask in questions)


def _part(text: str, marker: str) -> str:
    """The part of one kind. Processes are what a probe costs, so a kind without a probe of its own starts none."""
    return _section(text, marker) if text else f"printf '\\n{marker} 0\\n'"


def _section(text: str, marker: str) -> str:
    return f"( {text}\n) </dev/null 2>/dev/null\nprintf '\\n{marker} %s\\n' $?"


def _shared(by_kind: dict[type[Resource], list[Resource]]) -> Questions:
    questions: Questions = {}
    for kind, of_kind in by_kind.items():
        for ask, names in kind.common_questions(of_kind).items():
            questions.setdefault(ask, []).extend(name for name in names if name not in questions[ask])
    return questions


def _memory(text: str) -> dict[str, str]:
    """Address to `role hash`, of lines `role hash address`."""
    lines = (line.split(" ", 2) for line in text.splitlines())
    return {parts[2]: f"{parts[0]} {parts[1]}" for parts in lines if len(parts) == 3}


def _split(answer: str, marker: str) -> Iterator[tuple[str, int | None]]:
    parts = answer.split(f"\n{marker} ")
    text = parts[0]
    for part in parts[1:]:
        status, end, rest = part.partition("\n")
        yield text, int(status) if end and status.isdigit() else None
        text = rest


def _read_kind(kind: type[Resource], of_kind: list[Resource], texts: list[tuple[str, int | None]]) -> list[Reading]:
    if any(status is None for _, status in texts):
        return [Unknown("the host's answer was cut short")] * len(of_kind)
    fine = [kind.statuses, *((0,) for _ in texts[1:])]
    if status := next((status for (_, status), any_of in zip(texts, fine, strict=True) if status not in any_of), 0):
        return [Unknown(f"reading {kind.kind} ended with status {status}")] * len(of_kind)
    try:
        readings = kind.read(of_kind, *(text for text, _ in texts))
        if len(readings) != len(of_kind):
            raise ValueError(f"{len(readings)} answers for {len(of_kind)}")
    except Exception as error:  # whatever it is: unread is unknown, never absent
        return [Unknown(f"the host's answer for {kind.kind} was not understood: {error!r}")] * len(of_kind)
    return readings
