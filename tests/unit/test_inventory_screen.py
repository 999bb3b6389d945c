"""What `inv inventory` prints: every value whole, in lines that fit a terminal."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converge.inventory.hosts import explain, load
from roles.settings.model import Settings
from runbook.inventory import table

ROOT = Path(__file__).resolve().parents[2]
TEXT = st.text(st.sampled_from("ab1 -_./,"), max_size=200)


@pytest.mark.parametrize("width", [60, 80, 100])
def test_no_line_is_longer_than_the_terminal_and_every_setting_is_there(width: int) -> None:
    rows = explain(load(ROOT, "prod", Settings, resolve_secrets=False)[0])
    lines = list(table(rows, width))
    assert max(map(len, lines)) <= width
    assert [line.split()[0] for line in lines if not line.startswith("      ")] == [key for key, _, _ in rows]


@given(TEXT, TEXT, TEXT)
def test_nothing_is_cut_off(key: str, value: str, origin: str) -> None:
    lines = list(table([(f"k{key}", f"v{value}", f"o{origin}")], 60))
    assert max(map(len, lines)) <= 60
    shown, expected = (re.sub(r"\s", "", text) for text in ("".join(lines), f"k{key}v{value}o{origin}"))
    assert sorted(shown) == sorted(expected)
