"""Tar archives into and out of a set."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from worker.contract import FAILED, RESTORE_FAILED
from worker.errors import Failed
from worker.job import Job
from worker.parts import Part, PartReader
from worker.pipes import widen

CHUNK = 1 << 20
STAGING = "free some room there, or set backup.staging to a directory on a larger filesystem; then the same again"


def pack(
    base: Path, *names: str | bytes, options: Sequence[str] = (), complaints: list[str] | None = None
) -> Iterator[bytes]:
    """The bytes of a tar archive; it fails when tar does.

    With `complaints`, tar's messages about files that changed or vanished are collected there instead.
    """
    argv = ["tar", "-C", str(base), "--numeric-owner", *options, "-cf", "-", "--", *names]
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "LC_ALL": "C"},
        ) as tar:
            assert tar.stdout
            widen(tar.stdout)
            while chunk := tar.stdout.read(CHUNK):
                yield chunk
        errors.seek(0)
        output = errors.read().decode(errors="replace")
    if complaints is not None and tar.returncode in (0, 1):
        complaints += output.splitlines()
    elif tar.returncode:
        raise Failed(FAILED, "packing failed", output[-500:])


def unpack(
    job: Job,
    reader: PartReader,
    parts: Sequence[Part],
    folder: Path,
    *options: str,
    by: Sequence[str] = ("tar",),
    hint: str = STAGING,
) -> None:
    """Unpacks a stream, checked part by part, into a folder. `by` is the command that starts tar."""
    total, done = sum(part.plain_bytes for part in parts), 0
    argv = [*by, "-C", str(folder), *options, "-xf", "-"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as tar:
        assert tar.stdin and tar.stderr
        widen(tar.stdin)
        # If tar ends early, its error says why.
        with suppress(BrokenPipeError):
            for chunk in reader.read(parts):
                tar.stdin.write(chunk)
                done += len(chunk)
                job.journal.progress(done, total)
        with suppress(BrokenPipeError):
            tar.stdin.close()
        output = tar.stderr.read().decode(errors="replace")
    if tar.returncode:
        raise Failed(RESTORE_FAILED, f"unpacking into {folder} failed", output[-500:], hint)
