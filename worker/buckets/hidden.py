"""Objects that lie beneath another object (`a/b` beneath `a`): MinIO serves each by its exact key, and no listing shows them.

They are looked for on the drives by the names of files alone, beside the listing, which reads the same folders and more.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from worker.buckets import COMPONENT
from worker.buckets.client import Client, Silent, path
from worker.buckets.listing import NULL, Version
from worker.contract import FAILED
from worker.errors import Failed
from worker.job import Job

LONGEST = 3600
"""Seconds for the search; what is not seen by then is not looked for in this run."""
LAZY = ("env", "LC_ALL=C", "timeout", str(LONGEST), "nice", "-n", "19", "ionice", "-c", "3")
META, FOLDER = "xl.meta", "__XLDIR__"
"""The file that makes a folder an object on a drive, and the end of the folder of an object whose key ends with a slash."""
PRINTED = ("-ignore_readdir_race", "-type", "f", "-name", META, "-printf", r"%h\0")
BENEATH = f'exec find "$@" -mindepth 2 {" ".join(PRINTED[:-1])} "%h\\0"'
PIECE = 1 << 20
Keys = dict[str, dict[str, str]]
"""The key of the object above by key, for each bucket."""


class Search:
    """Looks for hidden objects while the buckets are saved."""

    def __init__(self, job: Job, minio: Client, names: Sequence[str]) -> None:
        self._job, self.seen = job, 0
        pool = ThreadPoolExecutor(1, "hidden")
        self._hidden = pool.submit(self._look, minio, names)
        pool.shutdown(wait=False)

    def of(self, bucket: str) -> dict[str, str]:
        """The hidden keys of a bucket, each with that of the object above; waits for the end of the search."""
        while True:
            try:
                return self._hidden.result(1).get(bucket, {})
            except TimeoutError:
                self._job.journal.progress(self.seen, pieces="objects on a drive looked at for hidden ones")

    def _look(self, minio: Client, names: Sequence[str]) -> Keys:
        if not names:
            return {}
        try:
            info = json.loads(minio.ask("GET", "/minio/admin/v3/info").body)
            keys = Keys()
            for folder in drives(info, self._job.config[COMPONENT].get("drives", {}), date.today().toordinal()):
                for bucket, keys_there in self._on(folder, names).items():
                    keys.setdefault(bucket, {}).update(keys_there)
            return keys
        except (Failed, OSError) as error:
            why = f"{error.what}: {error.why}" if isinstance(error, Failed) else str(error)
            self._job.note(f"objects that no listing shows were not looked for: {why}")
            return {}

    def _on(self, drive: str, names: Sequence[str]) -> Keys:
        """The hidden keys on one drive."""
        places = [f"{drive}/{name}" for name in names]
        above = dict.fromkeys(outermost(parents(self._counted(self._printed("find", *places, *PRINTED)))))
        keys = Keys()
        for folder in self._printed("xargs", "-0", "-r", "sh", "-c", BENEATH, "sh", given=above) if above else ():
            bucket, _, key = folder.removeprefix(f"{drive}/").partition("/")
            top = next(folder[:at] for at, letter in enumerate(folder) if letter == "/" and folder[:at] in above)
            keys.setdefault(bucket, {})[_key(key)] = top.removeprefix(f"{drive}/{bucket}/")
        return keys

    def _counted(self, folders: Iterable[str]) -> Iterator[str]:
        for folder in folders:
            self.seen += 1
            yield folder

    def _printed(self, *argv: str, given: Iterable[str] = ()) -> Iterator[str]:
        """The paths that a program prints; Failed at their end if it did not see all."""
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as errors:
            stdin.write("".join(f"{line}\0" for line in given).encode())
            stdin.seek(0)
            with subprocess.Popen((*LAZY, *argv), stdin=stdin, stdout=subprocess.PIPE, stderr=errors) as child:
                assert child.stdout
                rest = b""
                while piece := child.stdout.read(PIECE):
                    *complete, rest = (rest + piece).split(b"\0")
                    yield from (line.decode(errors="replace") for line in complete)
            if child.returncode:
                errors.seek(0)
                why = errors.readline(500).decode(errors="replace").strip()
                late = f"the drive was not looked through within {LONGEST // 60} minutes"
                raise Failed(FAILED, f"{argv[0]} on a drive", late if child.returncode == 124 else why)


def drives(info: Mapping[str, Any], folders: Mapping[str, str], day: int) -> list[str]:
    """A folder of this host for each erasure set, another one each day; `folders` are the nodes' own by their names.

    An object is on all drives of its set, but for what was away when it was written.
    """
    sets: dict[tuple[int, int], list[str]] = {}
    for server in info.get("servers") or ():
        for drive in server.get("drives") or ():
            here = sets.setdefault((drive.get("pool_index", 0), drive.get("set_index", 0)), [])
            node = urlsplit(drive.get("endpoint", "")).hostname or ""
            # A single node names its drive by the path alone.
            folder = folders.get(node) if node else next(iter(folders.values()), "")
            if folder and drive.get("state") == "ok" and not drive.get("healing"):
                here.append(folder)
    if not sets or not all(sets.values()):
        why = "the worker looks on this host alone, at drives that MinIO says are well"
        raise Failed(FAILED, "an erasure set of MinIO has no drive on this host", why)
    return [sorted(here)[day % len(here)] for here in sets.values()]


def parents(folders: Iterable[str]) -> Iterator[str]:
    """The folders of objects above other ones, of the folders of all objects as `find` prints them.

    What lies in a folder is printed together, so it stands right before or right after the folder itself.
    """
    last = ""
    for folder in folders:
        if last and folder.startswith(f"{last}/"):
            yield last
        elif last.startswith(f"{folder}/"):
            yield folder
        last = folder


def outermost(folders: Iterable[str]) -> list[str]:
    """Of folders in one another only the outermost."""
    outer = list[str]()
    for folder in sorted(set(folders), key=lambda folder: f"{folder}/"):
        if not outer or not folder.startswith(f"{outer[-1]}/"):
            outer.append(folder)
    return outer


def _key(folder: str) -> str:
    return f"{folder.removesuffix(FOLDER)}/" if folder.endswith(FOLDER) else folder


def versions(minio: Client, bucket: str, keys: Mapping[str, str], prefix: str = "") -> Iterator[Version]:
    """The newest version of each hidden key, in the order of a listing; what MinIO does not have is left out."""
    for key in sorted(keys, key=str.encode):
        if key.startswith(prefix) and (version := _version(minio, bucket, key, keys[key])):
            yield version


def _version(minio: Client, bucket: str, key: str, above: str) -> Version | None:
    try:
        answer = minio.ask("HEAD", path(bucket, key), may_fail=True)
    except Silent:  # damaged, and there all the same
        return Version(key, NULL, "", beneath=above)
    headers = answer.headers
    if answer.status == 404 and headers.get("x-amz-delete-marker") != "true":
        return None
    at = headers.get("last-modified", "")
    return Version(
        key=key,
        id=headers.get("x-amz-version-id") or NULL,
        at=parsedate_to_datetime(at).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z") if at else "",
        etag=headers.get("etag", "").strip('"'),
        size=int(headers.get("content-length") or 0) if answer.status < 300 else 0,
        latest=True,
        beneath=above,
    )
