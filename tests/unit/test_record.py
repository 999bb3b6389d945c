"""Our `dataclass` says of its records what Python's own says of them."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from converge import record
from converge.ui.cli import ROOT


def made(dataclass: Any) -> dict[str, Any]:
    """The same classes by either decorator, and two records of each."""

    @dataclass(frozen=True)
    class Plain:
        name: str
        seen: int = dataclasses.field(default=0, compare=False, repr=False)

    @dataclass(frozen=True)
    class Below(Plain):
        more: tuple[str, ...] = ()

    @dataclass
    class Open:
        names: list[str] = dataclasses.field(default_factory=list)

    @dataclass(frozen=True)
    class Own:
        name: str

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Own) and other.name.lower() == self.name.lower()

        def __hash__(self) -> int:
            return 7

    @dataclass(frozen=True, slots=True)
    class Slots:
        name: str

    return {
        "plain": (Plain("a"), Plain("a", 3), Plain("b")),
        "below": (Below("a", 1, ("x",)), Below("a", 2, ("x",)), Below("a", 1, ("y",))),
        "open": (Open(["a"]), Open(["a"]), Open()),
        "own": (Own("a"), Own("A"), Own("b")),
        "slots": (Slots("a"), Slots("a"), Slots("b")),
    }


@pytest.mark.parametrize("kind", ["plain", "below", "open", "own", "slots"])
def test_records_are_equal_hashed_and_shown_as_those_of_python(kind):
    ours, others = made(record.dataclass), made(dataclasses.dataclass)
    for first, second, third in (ours[kind], others[kind]):
        assert first == second != third
        assert first != "a"
        assert dataclasses.replace(first) == first
    assert [repr(one) for one in ours[kind]] == [repr(one) for one in others[kind]]
    assert ours["plain"][0] != ours["below"][0]
    if kind == "open":
        with pytest.raises(TypeError, match="unhashable"):
            hash(ours[kind][0])
    else:
        first, second, third = ours[kind]
        assert len({first, second, third}) == 2


def test_nothing_is_assigned_to_what_is_frozen(tmp_path):
    """The type checker sees it, and nobody else."""
    file = tmp_path / "assigns.py"
    file.write_text(
        "from converge.record import dataclass\n\n\n@dataclass(frozen=True)\nclass Plain:\n    name: str\n\n\n"
        "def rename(plain: Plain) -> None:\n    plain.name = 'b'\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", file], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert 'Property "name" defined in "Plain" is read-only' in done.stdout
