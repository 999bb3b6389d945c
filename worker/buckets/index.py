"""The index of a bucket in a set: a line of JSON for each version, compressed with zstd, in the order of the listing."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

from worker.contract import FAILED, VERIFY_FAILED
from worker.errors import Failed
from worker.pipes import through

PIECE = 4 << 20
"""Bytes of lines that are compressed together; zstd reads the pieces as one stream."""
Row = dict[str, Any]


def packed(rows: Iterable[Row]) -> Iterator[bytes]:
    """The bytes of an index; a piece of it is in memory at a time."""
    piece = bytearray()
    for row in rows:
        piece += json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        if len(piece) >= PIECE:
            yield zstd(piece, "-3")
            piece.clear()
    if piece:
        yield zstd(piece, "-3")


def unpacked(chunks: Iterable[bytes]) -> Iterator[Row]:
    """The rows of an index, while it is being read."""
    failure, fed = list[BaseException](), list[bool]()
    with subprocess.Popen(
        ["zstd", "-q", "-d", "-c"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as child:
        assert child.stdin and child.stdout
        feeder = threading.Thread(target=_feed, args=(child, chunks, failure, fed), daemon=True)
        feeder.start()
        ended = False
        try:
            for line in child.stdout:
                yield json.loads(line)
            ended = True
        finally:
            # A reader that stops early ends zstd, and so the thread that feeds it.
            if not ended:
                child.kill()
            feeder.join()
    if failure:
        raise failure[0]
    if child.returncode and fed:
        raise Failed(VERIFY_FAILED, "an index cannot be unpacked", f"zstd ended with {child.returncode}")


def _feed(
    child: subprocess.Popen[bytes], chunks: Iterable[bytes], failure: list[BaseException], fed: list[bool]
) -> None:
    assert child.stdin
    try:
        for chunk in chunks:
            fed[:] = [True]  # zstd makes no output of empty input, and refuses it as a stream
            child.stdin.write(chunk)
    except BrokenPipeError:
        pass
    except BaseException as error:
        failure.append(error)
    with suppress(OSError):
        child.stdin.close()


def zstd(data: bytes | bytearray, *options: str) -> bytes:
    """The output of zstd for these bytes."""
    code, made, errors = through(["zstd", "-q", "-c", *options], data)
    if code:
        raise Failed(FAILED, "zstd failed", errors[-300:])
    return made
