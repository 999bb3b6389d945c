"""The stack's identity: only it can read what it encrypts, and only it can sign."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from worker.contract import REFUSED, VERIFY_FAILED
from worker.errors import Failed
from worker.keys import Keys

# Each example starts programs.
FEW = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def identity() -> str:
    return subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys(identity())


@pytest.fixture(scope="module")
def other() -> Keys:
    return Keys(identity())


@FEW
@given(data=some.binary(max_size=200_000))
def test_what_is_encrypted_comes_back_and_is_never_the_same_twice(keys: Keys, data: bytes) -> None:
    first, second = keys.encrypt(data), keys.encrypt(data)
    assert keys.decrypt(first) == keys.decrypt(second) == data
    assert first != second


def test_a_whole_part_comes_back(keys: Keys) -> None:
    data = os.urandom(1 << 20) * 8
    assert keys.decrypt(keys.encrypt(bytearray(data))) == data


@FEW
@given(data=some.data())
def test_any_changed_bit_is_refused(keys: Keys, data: some.DataObject) -> None:
    stored = bytearray(keys.encrypt(b"x" * 300))
    at = data.draw(some.integers(0, len(stored) - 1))
    stored[at] ^= 1 << data.draw(some.integers(0, 7))
    with pytest.raises(Failed) as caught:
        keys.decrypt(bytes(stored))
    assert caught.value.code == VERIFY_FAILED


@pytest.mark.parametrize("keep", [0, 1, 100, 250, -1])
def test_a_cut_one_is_refused(keys: Keys, keep: int) -> None:
    with pytest.raises(Failed, match="cannot be decrypted"):
        keys.decrypt(keys.encrypt(b"x" * 300)[:keep])


def test_another_identity_reads_and_signs_nothing_and_is_told_so(keys: Keys, other: Keys) -> None:
    with pytest.raises(Failed, match="encrypted for another identity") as caught:
        other.decrypt(keys.encrypt(b"secret"))
    assert "identity" in caught.value.hint
    assert keys.mac(b"data") != other.mac(b"data")
    blob = hashlib.sha256(b"content").hexdigest()
    assert keys.name(blob) != other.name(blob)


def test_keys_for_different_uses_differ_and_the_same_identity_gives_the_same(keys: Keys) -> None:
    blob = hashlib.sha256(b"content").hexdigest()
    assert len({keys.name(blob), keys.mac(bytes.fromhex(blob)), blob}) == 3
    text = identity()
    again = "\n".join(line for line in text.splitlines() if not line.startswith("#")).lower()
    assert Keys(text).mac(b"x") == Keys(again).mac(b"x")
    assert Keys(text).recipient in text


@pytest.mark.parametrize("text", ["", "AGE-SECRET-KEY-1SHORT", "# only a comment", "AGE-SECRET-KEY-1" + "Q" * 58])
def test_what_is_no_identity_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(Failed, match="no age identity") as caught:
        Keys(text)
    assert caught.value.code == REFUSED
    assert not text or text not in str(caught.value)


def test_two_identities_are_one_too_many() -> None:
    with pytest.raises(Failed, match="one line"):
        Keys(identity() + identity())


def test_the_identity_stands_in_no_argument_and_no_picture(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = identity()
    secret = text.splitlines()[-1]
    for name in ("age", "age-keygen"):
        (tmp_path / name).write_text(
            f'#!/bin/sh\necho "$*" >>{tmp_path}/calls\nenv >>{tmp_path}/calls\nPATH={os.environ["PATH"]} exec {name} "$@"\n'
        )
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    mine = Keys(text)
    assert mine.decrypt(mine.encrypt(b"x")) == b"x"
    arguments = (tmp_path / "calls").read_text()
    assert "-r age1" in arguments and secret not in arguments and secret not in repr(mine)


def test_a_program_that_is_missing_is_one_clear_error(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Failed, match="age cannot be started"):
        keys.encrypt(b"x")
