"""Tar archives on their way into a set and out of one."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from worker.errors import FAILED, RESTORE_FAILED, Failed
from worker.job import Job
from worker.parts import Part, PartReader
from worker.pipes import widen

CHUNK = 1 << 20


def pack(base: Path, *names: str) -> Iterator[bytes]:
    """The bytes of a tar archive; it fails when tar does."""
    argv = ["tar", "-C", str(base), "--numeric-owner", "-cf", "-", "--", *names]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tar:
        assert tar.stdout and tar.stderr
        widen(tar.stdout)
        while chunk := tar.stdout.read(CHUNK):
            yield chunk
        said = tar.stderr.read()
    if tar.returncode:
        raise Failed(FAILED, "packing failed", said.decode(errors="replace")[-500:])


def unpack(job: Job, reader: PartReader, parts: Sequence[Part], folder: Path, *options: str) -> None:
    """Unpacks a stream into a folder; what is unpacked was checked."""
    total, done = sum(one.plain_bytes for one in parts), 0
    argv = ["tar", "-C", str(folder), *options, "-xf", "-"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as tar:
        assert tar.stdin and tar.stderr
        widen(tar.stdin)
        # When tar ends early, it says why.
        with suppress(BrokenPipeError):
            for chunk in reader.read(parts):
                tar.stdin.write(chunk)
                done += len(chunk)
                job.journal.progress(done, total)
        with suppress(BrokenPipeError):
            tar.stdin.close()
        said = tar.stderr.read().decode(errors="replace")
    if tar.returncode:
        hint = "free some room there, or set backup.staging to a directory on a larger filesystem; then the same again"
        raise Failed(RESTORE_FAILED, f"unpacking into {folder} failed", said[-500:], hint)
