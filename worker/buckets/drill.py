"""The drill of buckets: restored into a throwaway MinIO, and its listing compared with the index, version by version."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import urllib3

from worker import containers
from worker.buckets import COMPONENT, browsing, flat, moving
from worker.buckets.beneath import Beneath
from worker.buckets.client import Client
from worker.buckets.contents import Contents
from worker.buckets.index import Row
from worker.buckets.live import Live
from worker.buckets.made import Made
from worker.buckets.pools import Pools
from worker.buckets.wanted import Wanted
from worker.contract import FAILED, VERIFY_FAILED
from worker.errors import Failed
from worker.job import Job
from worker.manifest import Manifest

PATIENCE = 60
SHARE = 0.5
"""The share of the free room in the staging directory that a drill may fill; of a larger set only some keys are restored."""
FEW = 5


def run(job: Job, manifest: Manifest, source: str) -> None:
    """Drills every bucket of a set; its contents were checked before."""
    total = sum(bucket["bytes"] for bucket in manifest.buckets.values())
    step = int(total / max(1, shutil.disk_usage(job.staging).free * SHARE)) + 1
    contents = Contents(job.targets[source], job.keys, manifest)
    with _throwaway(job) as minio:
        for name in manifest.buckets:
            wanted = Wanted(job, manifest, source, name, minio)
            _bucket(job, wanted, contents, Made(job.staging / f"{name}.made"), step)
            compared = "every version is" if step == 1 else f"of every {step}th key every version is"
            job.journal.say(f"{name}: {compared} what it was")


def _bucket(job: Job, wanted: Wanted, contents: Contents, made: Made, step: int) -> None:
    moving.make_bucket(wanted)
    minio, to = wanted.minio, wanted.to
    moves = Beneath(minio, to, contents, made, job.journal.say)

    def put(rows: list[Row]) -> int:
        if wanted.versioned:
            return moves.insert(rows, [])
        return flat.replace(minio, contents, made, flat.kept_bucket(job.run), to, rows, [])

    with Pools(job) as pools:
        pools.all(
            ((rows, partial(put, rows)) for rows in _some(wanted, step)),
            wanted.manifest.buckets[wanted.bucket]["bytes"],
        )
    moving.lock(minio, to, made, job.journal)
    live = Live(minio, to, "")
    for rows in _some(wanted, step):
        there = live.of(rows[0]["key"])
        if wrong := [f"{rows[0]['key']}: {line}" for line in browsing.of_key(rows, there)]:
            why = "\n".join(wrong[:FEW])
            raise Failed(VERIFY_FAILED, f"the bucket {to} would not be what the set says", why, "inv backup")


def _some(wanted: Wanted, step: int) -> Iterator[list[Row]]:
    """The rows of every key, or of some; without unreadable objects, which are in no set."""
    for number, (_, rows) in enumerate(wanted.groups()):
        read = [row for row in rows if "unreadable" not in row]
        if read and not number % step:
            yield read


@contextmanager
def _throwaway(job: Job) -> Iterator[Client]:
    """A MinIO on a network without outside access; its files are in the staging directory and are removed with it."""
    configuration, called, network = (
        job.config[COMPONENT],
        f"stowage-backup-{job.run}-minio",
        f"stowage-backup-{job.run}-drill",
    )
    data, user, password = job.staging / "minio", job.staging / ".minio-user", job.staging / ".minio-password"
    data.mkdir(mode=0o700)
    for path, text in ((user, "drill"), (password, secrets.token_hex(16))):
        path.touch(mode=0o600)
        path.write_text(text)
    job.hand_over(data, user, password)
    label = ("--label", f"{containers.LABEL}={job.run}")
    kms = configuration.get("kms_key_file")
    try:
        containers.must("network", "create", "--internal", *label, network)
        containers.must(
            *("run", "-d", "--name", called, *label, "--network", network, "--user", job.config["owner"]),
            *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pull", "never", "--log-driver", "none"),
            *("-v", f"{data}:/data", "-v", f"{user}:/run/user:ro", "-v", f"{password}:/run/password:ro"),
            *("-e", "MINIO_ROOT_USER_FILE=/run/user", "-e", "MINIO_ROOT_PASSWORD_FILE=/run/password"),
            *("-e", "HOME=/tmp"),
            # MinIO refuses the root disk otherwise, and the staging directory may be on it.
            *("-e", "MINIO_CI_CD=on"),
            *(("-v", f"{kms}:/run/kms:ro", "-e", "MINIO_KMS_SECRET_KEY_FILE=/run/kms") if kms else ()),
            *(configuration["image"], "server", "--address", ":9000", "/data"),
        )
        containers.must("network", "connect", network, f"stowage-backup-{job.run}")
        address = containers.docker(
            "inspect", "-f", f'{{{{(index .NetworkSettings.Networks "{network}").IPAddress}}}}', called
        )
        endpoint = f"http://{address}:9000"
        _must_answer(endpoint)
        yield Client([endpoint], user.read_text(), password.read_text())
    finally:
        containers.docker("rm", "-f", called)
        containers.docker("network", "disconnect", "-f", network, f"stowage-backup-{job.run}")
        containers.docker("network", "rm", network)
        job.clear()


def _must_answer(endpoint: str) -> None:
    until, pool = time.monotonic() + PATIENCE, urllib3.PoolManager(retries=False, timeout=2.0)
    while time.monotonic() < until:
        try:
            if pool.request("GET", f"{endpoint}/minio/health/cluster").status == 200:
                return
        except urllib3.exceptions.HTTPError:
            pass
        time.sleep(0.5)
    raise Failed(FAILED, "the throwaway MinIO does not start", f"it does not answer within {PATIENCE} s")
