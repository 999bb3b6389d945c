"""The probe: all resources of all roles read by one script, in one round trip."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from converge.engine.resource import Reading, Resource, Unknown
from converge.shell import sh

MEMORY = "/var/lib/stowage/applied"
"""A line for each resource that a deploy made: its role, a hash of what it was made to be, its address."""
BEGUN = "begun"
"""Stands for the hash while the resource is being made."""

Questions = dict[Callable[[Sequence[str]], str], list[str]]
"""What kinds ask together, with the names that it is about."""


def forgetting(address: str) -> str:
    """The command, on the host, after which a thing that is gone may be made anew: the host forgets that it was there."""
    line = address.replace(".", "[.]")
    return sh("sed -i {} {}", f"\\| {line}$|d", MEMORY)


def kinds(resources: Sequence[Resource]) -> dict[type[Resource], list[Resource]]:
    """The resources that a shell can read, by kind, in the order in which the kinds first occur."""
    found: dict[type[Resource], list[Resource]] = {}
    for one in resources:
        if not one.is_api():
            found.setdefault(type(one), []).append(one)
    return found


def script(resources: Sequence[Resource], marker: str) -> str:
    """The script that reads everything. Each answer ends in a line with the marker and its exit status.

    A kind runs in a subshell with nothing on its standard input, so that it can end neither the probe nor read it. A
    question that kinds share is asked while all else is read, unless one of them needs the answer on the host.
    """
    found = kinds(resources)
    asks = [kind.probe(many) for kind, many in found.items()]
    first, beside = _questions(found, asks)
    parts = [
        f"{ask.__name__}=$( ( {ask(names)}\n) </dev/null 2>/dev/null ); status=$?\n"
        f"printf '%s\\n\\n{marker} %s\\n' \"${ask.__name__}\" $status"
        for ask, names in first.items()
    ]
    # Processes are what a probe costs: a kind that asks nothing itself has none.
    parts += [_section(text, marker) if text else f"printf '\\n{marker} 0\\n'" for text in asks]
    parts.append(f"cat {MEMORY} 2>/dev/null\nprintf '\\n{marker} 0\\n'")
    whole = "\n".join(parts)
    for ask, names in beside.items():
        # Its answer waits in the pipe until all before it has been said.
        whole = f"{{ {_section(ask(names), marker)}\n}} | {{ {whole}\ncat; }}"
    return whole


def _section(text: str, marker: str) -> str:
    return f"( {text}\n) </dev/null 2>/dev/null\nprintf '\\n{marker} %s\\n' $?"


def _questions(found: dict[type[Resource], list[Resource]], asks: Sequence[str]) -> tuple[Questions, Questions]:
    """The questions that several kinds ask, each once, about all that they want to know: first those whose answer a
    probe takes from a shell variable of that name, then the others.
    """
    first: Questions = {}
    beside: Questions = {}
    for ask, names in _shared(found).items():
        needed = any(f"${ask.__name__}" in text or f"${{{ask.__name__}" in text for text in asks)
        (first if needed else beside)[ask] = names
    return first, beside


def _shared(found: dict[type[Resource], list[Resource]]) -> Questions:
    questions: Questions = {}
    for kind, many in found.items():
        for ask, names in kind.shares(many).items():
            questions.setdefault(ask, []).extend(name for name in names if name not in questions[ask])
    return questions


def read(resources: Sequence[Resource], answer: str, marker: str) -> tuple[dict[str, Reading], dict[str, str]]:
    """The reading of every resource by address, and what the host remembers of earlier deploys."""
    answers = _split(answer, marker)
    readings: dict[str, Reading] = {}
    found = kinds(resources)
    first, beside = _questions(found, [kind.probe(many) for kind, many in found.items()])
    cut = ("", None)
    shared = {ask: next(answers, cut) for ask in first}
    own = {kind: next(answers, cut) for kind in found}
    memory, _ = next(answers, cut)
    shared |= {ask: next(answers, cut) for ask in beside}
    for kind, many in found.items():
        texts = [own[kind], *(shared[ask] for ask in kind.shares(many))]
        readings.update(zip((one.address for one in many), _read_kind(kind, many, texts), strict=True))
    return readings, _memory(memory)


def _memory(text: str) -> dict[str, str]:
    """Address to `role hash`, of lines `role hash address`."""
    lines = (line.split(" ", 2) for line in text.splitlines())
    return {parts[2]: f"{parts[0]} {parts[1]}" for parts in lines if len(parts) == 3}


def _split(answer: str, marker: str):  # type: ignore[no-untyped-def]
    parts = answer.split(f"\n{marker} ")
    text = parts[0]
    for part in parts[1:]:
        status, end, rest = part.partition("\n")
        yield text, int(status) if end and status.isdigit() else None
        text = rest


def _read_kind(kind: type[Resource], many: list[Resource], texts: list[tuple[str, int | None]]) -> list[Reading]:
    if any(status is None for _, status in texts):
        return [Unknown("the host's answer was cut short")] * len(many)
    fine = [kind.statuses, *((0,) for _ in texts[1:])]
    if status := next((status for (_, status), any_of in zip(texts, fine, strict=True) if status not in any_of), 0):
        return [Unknown(f"reading {kind.kind} ended with status {status}")] * len(many)
    try:
        found = kind.read(many, *(text for text, _ in texts))
        if len(found) != len(many):
            raise ValueError(f"{len(found)} answers for {len(many)}")
    except Exception as error:  # whatever it is: unread is unknown, never absent
        return [Unknown(f"the host's answer for {kind.kind} was not understood: {error!r}")] * len(many)
    return found
