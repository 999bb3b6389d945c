"""The probe: all resources of all roles read by one script, in one round trip."""

from __future__ import annotations

from collections.abc import Sequence

from converge.resource import Reading, Resource, Unknown

MEMORY = "/var/lib/stowage/applied"


def kinds(resources: Sequence[Resource]) -> dict[type[Resource], list[Resource]]:
    """The resources that a shell can read, by kind, in the order in which the kinds first occur."""
    found: dict[type[Resource], list[Resource]] = {}
    for one in resources:
        if not one.is_api():
            found.setdefault(type(one), []).append(one)
    return found


def script(resources: Sequence[Resource], marker: str) -> str:
    """The script that reads everything. Each kind's answer ends in a line with the marker and its exit status.

    A kind runs in a subshell with nothing on its standard input, so that it can end neither the probe nor read it.
    """
    parts = [
        f"( {kind.probe(many)}\n) </dev/null 2>/dev/null\nprintf '\\n{marker} %s\\n' $?"
        for kind, many in kinds(resources).items()
    ]
    parts.append(f"cat {MEMORY} 2>/dev/null\nprintf '\\n{marker} 0\\n'")
    return "\n".join(parts)


def read(resources: Sequence[Resource], answer: str, marker: str) -> tuple[dict[str, Reading], dict[str, str]]:
    """The reading of every resource by address, and what the host remembers of earlier deploys."""
    answers = _split(answer, marker)
    readings: dict[str, Reading] = {}
    for kind, many in kinds(resources).items():
        text, status = next(answers, ("", None))
        readings.update(zip((one.address for one in many), _read_kind(kind, many, text, status), strict=True))
    memory, _ = next(answers, ("", None))
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


def _read_kind(kind: type[Resource], many: list[Resource], text: str, status: int | None) -> list[Reading]:
    if status is None:
        return [Unknown("the host's answer was cut short")] * len(many)
    if status:
        return [Unknown(f"reading {kind.kind} ended with status {status}")] * len(many)
    try:
        found = kind.read(many, text)
        if len(found) != len(many):
            raise ValueError(f"{len(found)} answers for {len(many)}")
    except Exception as error:  # whatever it is: unread is unknown, never absent
        return [Unknown(f"the host's answer for {kind.kind} was not understood: {error!r}")] * len(many)
    return found
