"""Sibling containers: PostgreSQL's own tools, from the database's own image, beside its container on its network.

They are named after the run and never started by `docker exec`, whose processes outlive a killed caller.
"""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from worker.contract import FAILED, RESTORE_FAILED
from worker.errors import Failed
from worker.size import human
from worker.toolbox import Started, Toolbox

LABEL = "org.stowage.backup"
SOCKET = "/var/run/docker.sock"
CALLED = {
    "dump": "pg_dump",
    "check": "reading the dump to its end (pg_restore)",
    "load": "loading the dump (pg_restore)",
    "analyze": "vacuumdb",
    "globals": "pg_dumpall --globals-only",
    "version": "pg_dump --version",
}
"""The names of tools for people, by the first word of the container's name."""
NO_SPACE = "No space left on device"
ALMOST_NOTHING = 16 << 20
"""A filesystem with fewer bytes free counts as full: the failed program has freed some of them."""


@dataclass(frozen=True)
class Tools:
    """How to start a tool: its image, the container whose network it shares, its user, and its writable folder."""

    run: str
    image: str
    container: str
    owner: str
    staging: Path
    password_file: Path
    user: str
    code: int
    box: Toolbox
    """The container that the tools share."""
    options: str = ""

    def start(self, name: str, *argv: str) -> Started:
        """Starts a tool. Its output goes to `NAME.log` in the staging directory, as it may be large."""
        return self.box.start(name, argv, self._shared(), self.image, self.staging)

    def ready(self) -> None:
        """Starts the container of the tools without waiting for it."""
        self.box.open(self._shared(), self.image, self.staging)

    def close(self) -> None:
        """Ends the container of the tools in the background; no tool may be started afterwards."""
        self.box.close()

    def _shared(self) -> list[str]:
        return self._container(f"stowage-backup-{self.run}-", f"container:{self.container}")

    def alone(self, name: str, *argv: str) -> str:
        """The output of a tool that reads untrusted input: it runs in a separate container without a network."""
        run = self._container(f"stowage-backup-{self.run}-{name}", "none")
        with (self.staging / f"{name}.log").open("w") as log:
            command = [*run, "--entrypoint", argv[0], self.image, *argv[1:]]
            started = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        return self.finish(name, started)

    def _container(self, called: str, network: str) -> list[str]:
        return [
            *("docker", "run", "--rm", "--name", called, "--label", f"{LABEL}={self.run}", "--log-driver", "none"),
            *("--network", network, "--user", self.owner),
            *("-v", f"{self.staging}:{self.staging}", "-v", f"{self.password_file}:/run/pgpass:ro"),
            *("-e", "PGPASSFILE=/run/pgpass", "-e", "PGAPPNAME=stowage-backup", "-e", f"PGUSER={self.user}"),
            # English messages, as they are parsed.
            *("-e", f"PGOPTIONS={self.options}", "-e", "LC_MESSAGES=C"),
            *("-e", "PGHOST=127.0.0.1", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pull", "never"),
        ]

    def finish(self, name: str, started: Started | subprocess.Popen[bytes], encoding: str = "utf-8") -> str:
        """Waits for the end of a tool; gives its output, or raises Failed with its last lines."""
        status, output = self.result(name, started, encoding)
        if status:
            raise self._failure(name, status, output)
        return output

    def result(self, name: str, started: Started | subprocess.Popen[bytes], encoding: str = "utf-8") -> tuple[int, str]:
        """Waits for the end of a tool; gives its status and its output."""
        return started.wait(), (self.staging / f"{name}.log").read_text(encoding, errors="replace")

    def _failure(self, name: str, status: int, output: str) -> Failed:
        """The error of a tool: its last lines, and on a full disk, which one and how full."""
        ending, hint = "\n".join(output.splitlines()[-8:]), ""
        free = shutil.disk_usage(self.staging).free
        if NO_SPACE in output and free < ALMOST_NOTHING:
            ending += f"\n{human(free)} are free in {self.staging.parent}"
            hint = "set backup.staging to a directory on a larger filesystem"
        elif NO_SPACE in output:
            hint = "on the host, df -h: the filesystem of PostgreSQL's data is full; inv restore.cleanup"
        what = CALLED.get(name.partition("-")[0], name)
        return Failed(self.code, f"{what} failed with status {status}", ending, hint)

    def call(self, name: str, *argv: str) -> str:
        return self.finish(name, self.start(name, *argv))


def remove(run: str = "") -> None:
    """Removes the containers and networks of one run, or those that any run left."""
    theirs = {"label": [f"{LABEL}={run}" if run else LABEL]}
    ids = _listed("containers", theirs)
    if not run:  # a run that was killed while Docker created its worker left a container that never ran
        unused = {"name": ["^/?stowage-backup-[0-9]"], "status": ["created", "exited"]}
        ids += _listed("containers", unused)
    if ids:
        docker("rm", "-f", *ids)
    # A network that the worker itself still uses stays; its run removes it.
    if ids := _listed("networks", theirs):
        docker("network", "rm", *ids)


def _listed(what: str, filters: Mapping[str, Sequence[str]]) -> list[str]:
    """The ids of containers or networks, from Docker's socket: each start of its CLI is a twentieth of a second; empty without an answer."""
    question = urlencode({"all": "true", "filters": json.dumps(filters)})
    try:
        with closing(_Docker("localhost", timeout=60)) as connection:
            connection.request("GET", f"/{what}?{question}" if what == "networks" else f"/{what}/json?{question}")
            return [row["Id"] for row in json.loads(connection.getresponse().read())]
    except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError):
        return []


class _Docker(http.client.HTTPConnection):
    """A connection to Docker's socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def docker(*arguments: str) -> str:
    """The output of a docker command; empty when it fails."""
    done = subprocess.run(["docker", *arguments], text=True, capture_output=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def must(*arguments: str) -> str:
    """The output of a docker command; raises Failed when it fails."""
    done = subprocess.run(["docker", *arguments], text=True, capture_output=True, check=False)
    if done.returncode:
        raise Failed(FAILED, f"docker {arguments[0]} failed", done.stderr.strip()[-500:])
    return done.stdout.strip()


def running(name: str) -> bool:
    return bool(docker("ps", "-q", "-f", f"name=^{name}$"))


def stop(names: Sequence[str]) -> None:
    """Stops containers and waits until they are stopped, even if the run itself is being stopped."""
    if not names:
        return
    stopping = subprocess.Popen(
        ["docker", "stop", *names], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        _, errors = stopping.communicate()
    except BaseException:
        # Docker continues the stop: a start before its end would find the containers running, and do nothing.
        stopping.wait()
        raise
    if stopping.returncode:
        hint = f"on the host: docker stop {' '.join(names)}; or take it out of backup.dependents; then the same again"
        raise Failed(RESTORE_FAILED, f"{', '.join(names)} cannot be stopped", errors.strip()[-500:], hint)


def start(names: Sequence[str]) -> dict[str, str]:
    """Starts each container separately; gives those that do not start, and why."""
    silent = {}
    for name in names:
        done = subprocess.run(["docker", "start", name], text=True, capture_output=True, check=False)
        if done.returncode:
            silent[name] = done.stderr.strip()[-300:]
    return silent
