"""Names of hosts as Ansible writes them: ranges such as `store[01:04]`, and ports such as `store1:2222`."""

from __future__ import annotations

import re
from string import ascii_letters

RANGE = r"\[([^\]]*)\]"
PORT = r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<name>(?:[^:\[\]]|\[[^\]]*\])*)):(?P<port>[0-9]+)"
MOST = 1000
"""Most hosts that one name may stand for."""


class Misnamed(ValueError):
    """Why a range is not valid."""


def without_port(name: str) -> tuple[str, int | None]:
    """A name, or an address of IPv6 in brackets, and the port behind it."""
    if not (parts := ":" in name and re.fullmatch(PORT, name)):
        return name, None
    port = int(parts["port"])
    if not 0 < port < 65536:
        raise Misnamed(f"{port} is no port: a port is a number from 1 to 65535")
    return parts["bracketed"] or parts["name"], port


def is_address(name: str) -> bool:
    if not name[-1:].isalnum() or (":" not in name and not name[-1].isdecimal()):
        return False
    import ipaddress

    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return "%" not in name


def expanded(name: str) -> list[str]:
    """The names that a name with ranges stands for, in order; without a range it is itself."""
    match = re.search(RANGE, name)
    if not match:
        if "[" in name or "]" in name:
            raise Misnamed("a bracket is open: a range is [01:04], [a:d] or [1:9:2]")
        return [name]
    steps = _steps(match[1])
    rest = expanded(name[match.end() :])
    if len(steps) * len(rest) > MOST:
        raise Misnamed(f"it comes to {len(steps) * len(rest)} hosts, more than {MOST}")
    return [f"{name[: match.start()]}{step}{tail}" for step in steps for tail in rest]


def _steps(text: str) -> list[str]:
    first, end, step = _bounds(text)
    if first in ascii_letters and end in ascii_letters and len(first) == len(end) == 1:
        steps = list(ascii_letters[ascii_letters.index(first) : ascii_letters.index(end) + 1 : step])
    elif re.fullmatch("[0-9]+", first) and re.fullmatch("[0-9]+", end):
        steps = _numbers(first, end, step)
    else:
        raise Misnamed(f"[{text}] goes from {first} to {end}: a range goes from number to number or letter to letter")
    if not steps:
        raise Misnamed(f"[{text}] ends before it begins")
    return steps


def _bounds(text: str) -> tuple[str, str, int]:
    first, *more = text.split(":")
    if len(more) not in (1, 2):
        raise Misnamed(f"[{text}] is no range: a range is [01:04], [a:d] or [1:9:2]")
    if not more[0]:
        raise Misnamed(f"[{text}] has no end: a range is [01:04], [a:d] or [1:9:2]")
    step = more[1] if len(more) > 1 else "1"
    if not re.fullmatch("[0-9]{1,6}", step) or int(step) == 0:
        raise Misnamed(f"[{text}] has the step {step!r}: a step is a number from 1 on")
    return first or "0", more[0], int(step)


def _numbers(first: str, end: str, step: int) -> list[str]:
    padded = first[0] == "0" and len(first) > 1
    if padded and len(first) != len(end):
        raise Misnamed(f"[{first}:{end}] has {len(first)} digits and {len(end)}: with leading zeros both have as many")
    if len(end) > 9 or len(first) > 9:
        raise Misnamed(f"[{first}:{end}] has numbers of more than 9 digits")
    numbers = range(int(first), int(end) + 1, step)
    if len(numbers) > MOST:
        raise Misnamed(f"it comes to {len(numbers)} hosts, more than {MOST}")
    return [str(number).zfill(len(first)) if padded else str(number) for number in numbers]
