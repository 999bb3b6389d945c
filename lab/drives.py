"""What hands do at a machine: pull a drive, insert a blank one, put the old one back, swap two."""

from __future__ import annotations

from converge.errors import Trouble
from lab import containers, hosts
from lab.engine import ensure_engine, plainly

NUMBERS = (1, 2, 3, 4)


def number(text: str) -> int:
    """The number of a drive as somebody typed it."""
    if text not in map(str, NUMBERS):
        why = "the drives of a lab host are 1, 2, 3 and 4"
        raise Trouble(f"there is no drive {text!r}", why=why, hint="inv lab.pull-drive 2")
    return int(text)


def pull_drive(name: str, drive: int) -> str:
    """The drive dies: EIO for all that use it, then it is gone, also after a reboot. Gives its device."""
    return _by_hand(name, "pull", drive)


def insert_drive(name: str, drive: int) -> str:
    """A new blank drive into an empty bay; gives its device, another one while something holds the dead drive."""
    return _by_hand(name, "insert", drive)


def put_back_drive(name: str, drive: int) -> str:
    """The pulled drive back into its bay, with all that is on it; gives its device."""
    return _by_hand(name, "put_back", drive)


def swap_drives(name: str, first: int, second: int) -> None:
    """Two drives change their bays, hence their kernel names, at the next reboot."""
    _by_hand(name, "swap", first, second)


@plainly
def _by_hand(name: str, word: str, *numbers: int) -> str:
    container = containers.need(ensure_engine(), name)
    device = containers.inside(container, "/sbin/firmware", word, *(str(number(str(bay))) for bay in numbers))
    hosts.record(name, container)
    return device
