"""Streams to targets and back: equal bytes, or an error that names the part."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from worker import pipes
from worker.buckets import packs
from worker.contract import FAILED, VERIFY_FAILED
from worker.errors import Failed
from worker.keys import Keys
from worker.parts import PLAIN, Part, PartReader, PartWriter, cut
from worker.rate import Rate
from worker.targets import LARGEST, PathTarget

PREFIX = "lab/sets/20261121T090000Z-a1b2c3"
SIZE = 1000


@pytest.fixture(scope="module")
def keys() -> Keys:
    return Keys(subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout)


def folder(path: Path, name: str) -> PathTarget:
    (path / name).mkdir()
    return PathTarget(name, str(path / name), device=lambda path: hash(path))


@pytest.fixture
def target(tmp_path: Path) -> PathTarget:
    return folder(tmp_path, "here")


def write(keys: Keys, data: bytes, *targets: PathTarget, stream: str = "pg/app") -> list[Part]:
    with PartWriter(targets, keys, PREFIX, plain_size=SIZE) as writer:
        return writer.write(stream, [data])


def read(keys: Keys, target: PathTarget, parts: list[Part]) -> bytes:
    return b"".join(PartReader(target, keys, PREFIX).read(parts))


@given(data=some.binary(max_size=400), steps=some.lists(some.integers(0, 50), max_size=20), size=some.integers(1, 97))
def test_cutting_changes_no_byte_and_no_piece_is_too_large(data: bytes, steps: list[int], size: int) -> None:
    def chunks() -> Iterator[bytes]:
        at = 0
        for step in steps:
            yield data[at : at + step]
            at += step
        yield data[at:]

    pieces = list(cut(chunks(), size))
    assert b"".join(pieces) == data
    assert all(len(piece) == size for piece in pieces[:-1]) and all(0 < len(piece) <= size for piece in pieces)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=some.integers(0, 4 * SIZE).map(lambda n: random.Random(n).randbytes(n)))
def test_a_stream_comes_back(keys: Keys, target: PathTarget, data: bytes) -> None:
    parts = write(keys, data, target)
    assert read(keys, target, parts) == data
    assert [part.plain_bytes for part in parts] == [len(piece) for piece in cut([data], SIZE)]
    assert all(part.plain_sha256 != part.sha256 for part in parts)


def test_an_empty_stream_has_no_parts_and_comes_back(keys: Keys, target: PathTarget) -> None:
    assert write(keys, b"", target) == []
    assert read(keys, target, []) == b""
    assert list(target.list("")) == []


def test_64_mib_are_one_part_which_fits_on_a_target_also_where_a_pack_does_not_compress(keys: Keys) -> None:
    assert PLAIN == 64 << 20
    incompressible = packs.compressed(bytearray(os.urandom(PLAIN)))
    assert len(incompressible) > PLAIN
    assert len(keys.encrypt(incompressible)) <= LARGEST


def damaged(keys: Keys, target: PathTarget, parts: list[Part], number: int) -> Failed:
    """The error of a read; checks that it gave all parts before the damaged one, and nothing of that one."""
    given: list[bytes] = []
    with pytest.raises(Failed) as caught:
        given.extend(PartReader(target, keys, PREFIX).read(parts))
    assert len(given) == number
    assert caught.value.code == VERIFY_FAILED
    assert parts[number].name in caught.value.what
    return caught.value


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("at", [0, 0.5, -1])
def test_a_flipped_byte_is_found_before_a_byte_of_its_part_is_given(
    keys: Keys, target: PathTarget, number: int, at: float
) -> None:
    parts = write(keys, os.urandom(2 * SIZE + 1), target)
    key = f"{PREFIX}/{parts[number].name}"
    stored = bytearray(target.get(key))
    stored[int(at * len(stored)) if at > 0 else int(at)] ^= 1
    target.put(key, bytes(stored))
    assert "not those that were stored" in damaged(keys, target, parts, number).why


def test_a_part_that_is_cut_longer_empty_or_gone_is_named(keys: Keys, target: PathTarget) -> None:
    parts = write(keys, os.urandom(3 * SIZE), target)
    key = f"{PREFIX}/{parts[1].name}"
    stored = target.get(key)
    for other in (stored[:-1], stored + b"x", b""):
        target.put(key, other)
        assert f"{len(other)} bytes instead of {len(stored)}" in damaged(keys, target, parts, 1).why
    target.delete(key)
    assert "not there" in damaged(keys, target, parts, 1).why


def test_a_part_that_is_swapped_with_its_twin_is_named(keys: Keys, target: PathTarget) -> None:
    data = os.urandom(2 * SIZE)
    parts, twins = write(keys, data, target), write(keys, data, target, stream="pg/twin")
    target.put(f"{PREFIX}/{parts[1].name}", target.get(f"{PREFIX}/{twins[1].name}"))
    damaged(keys, target, parts, 1)
    target.put(f"{PREFIX}/{parts[0].name}", target.get(f"{PREFIX}/{twins[1].name}"))
    damaged(keys, target, parts, 0)


def test_a_part_of_another_identity_is_named(keys: Keys, target: PathTarget) -> None:
    other = Keys(subprocess.run(["age-keygen"], capture_output=True, text=True, check=True).stdout)
    parts = write(other, b"x" * 10, target)
    assert "another identity" in damaged(keys, target, parts, 0).why


def test_what_decrypts_to_other_bytes_is_refused(keys: Keys, target: PathTarget) -> None:
    part = write(keys, b"right", target)[0]
    lie = Part(part.name, part.bytes, part.plain_bytes, part.sha256, hashlib.sha256(b"wrong").hexdigest())
    assert "other bytes" in damaged(keys, target, [lie], 0).why


class Dying(PathTarget):
    """A target that fails from one put on."""

    def __init__(self, path: Path, lives: int) -> None:
        path.mkdir()
        super().__init__("dying", str(path), device=lambda path: hash(path))
        self.lives, self.puts = lives, 0

    def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        self.puts += 1
        if self.puts > self.lives:
            raise Failed(FAILED, "dying: the disk is gone")
        super().put(key, data, if_absent=if_absent)


@pytest.mark.parametrize("lives", [0, 1, 5])
def test_a_target_that_dies_stops_no_other(keys: Keys, target: PathTarget, tmp_path: Path, lives: int) -> None:
    data, dying = os.urandom(10 * SIZE), Dying(tmp_path / "dying", lives)
    with PartWriter([dying, target], keys, PREFIX, plain_size=SIZE) as writer:
        parts = writer.write("pg/app", [data])
        assert writer.alive == [target]
        assert writer.dropped["dying"].what == "dying: the disk is gone"
        puts = dying.puts
        writer.write("pg/more", [data])
        assert dying.puts == puts
    assert read(keys, target, parts) == data


def test_when_all_targets_are_dead_the_run_has_failed_and_says_why(keys: Keys, tmp_path: Path) -> None:
    with (
        PartWriter([Dying(tmp_path / "one", 2)], keys, PREFIX, plain_size=SIZE) as writer,
        pytest.raises(Failed, match="no target is left") as caught,
    ):
        writer.write("pg/app", (os.urandom(SIZE) for _ in range(100)))
    assert caught.value.code == FAILED and "the disk is gone" in caught.value.why


def test_a_producer_that_fails_leaves_no_list_of_parts_and_the_writer_goes_on(keys: Keys, target: PathTarget) -> None:
    def producer() -> Iterator[bytes]:
        yield os.urandom(3 * SIZE)
        raise Failed(FAILED, "pg_dump ended with 1")

    with PartWriter([target], keys, PREFIX, plain_size=SIZE) as writer:
        for _ in range(5):
            with pytest.raises(Failed, match="pg_dump ended"):
                writer.write("pg/bad", producer())
        parts = writer.write("pg/good", [b"x" * 5 * SIZE])
    assert read(keys, target, parts) == b"x" * 5 * SIZE


def test_several_streams_at_once_keep_apart_and_hold_few_parts(keys: Keys, tmp_path: Path) -> None:
    held, most, lock = 0, 0, threading.Lock()

    class Slow(PathTarget):
        def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
            nonlocal held, most
            with lock:
                held += 1
                most = max(most, held)
            time.sleep(0.01)
            super().put(key, data, if_absent=if_absent)
            with lock:
                held -= 1

    target = Slow("slow", str(tmp_path), device=lambda path: hash(path))
    data = {f"pg/db{n}": os.urandom(6 * SIZE) for n in range(4)}
    parts: dict[str, list[Part]] = {}
    with PartWriter([target], keys, PREFIX, plain_size=SIZE, ahead=2) as writer:
        threads = [
            threading.Thread(target=lambda name=name: parts.update({name: writer.write(name, [data[name]])}))
            for name in data
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {name: read(keys, target, parts[name]) for name in data} == data
    assert most <= 2


def test_a_reading_that_is_left_early_ends(keys: Keys, target: PathTarget) -> None:
    parts = write(keys, os.urandom(20 * SIZE), target)
    stream = PartReader(target, keys, PREFIX).read(parts)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert threading.active_count() < 20


def test_each_stored_part_is_told(keys: Keys, target: PathTarget) -> None:
    written: list[str] = []
    with PartWriter(
        [target], keys, PREFIX, plain_size=SIZE, on_stored=lambda part: written.append(part.name)
    ) as writer:
        writer.write("pg/app", [b"x" * 3 * SIZE])
    assert sorted(written) == ["pg/app.00000", "pg/app.00001", "pg/app.00002"]


def test_no_more_is_sent_in_a_second_than_somebody_allows() -> None:
    slept = list[float]()
    rate = Rate(100, now=lambda: 7.0, sleep=slept.append)
    for size in (50, 200, 10):
        rate.take(size)
    assert slept == [0.5, 2.5]
    Rate(0, sleep=slept.append).take(1 << 40)
    assert slept == [0.5, 2.5]


@pytest.mark.parametrize("expect", [0, 1, 5, 500])
@pytest.mark.parametrize("data", [b"", b"abcde", bytes(3 << 20)])
def test_the_output_of_a_program_is_whole_whatever_was_expected(data: bytes, expect: int) -> None:
    assert pipes.through(["cat"], data, expect=expect) == (0, data, "")
