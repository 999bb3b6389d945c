"""Sibling containers: PostgreSQL's own tools, from the database's own image, beside its container on its network.

They are named after the run and never started by `docker exec`: what an exec began goes on when its caller has died.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from worker.contract import FAILED, RESTORE_FAILED
from worker.errors import Failed
from worker.size import human
from worker.toolbox import Started, Toolbox

LABEL = "org.stowage.backup"
CALLED = {
    "dump": "pg_dump",
    "check": "reading the dump to its end (pg_restore)",
    "load": "loading the dump (pg_restore)",
    "analyze": "vacuumdb",
    "globals": "pg_dumpall --globals-only",
    "version": "pg_dump --version",
}
"""What a tool is called where a person reads it, by the first word of its container's name."""
NO_SPACE = "No space left on device"
ALMOST_NOTHING = 16 << 20
"""A filesystem with less than that free has run full; who failed has given some back by then."""


@dataclass(frozen=True)
class Tools:
    """How to start a tool: the image it comes from, whose network it shares, who it is, and where it may write."""

    run: str
    image: str
    container: str
    owner: str
    staging: Path
    password_file: Path
    user: str
    code: int
    box: Toolbox
    """The container that its tools share."""
    options: str = ""

    def start(self, name: str, *argv: str) -> Started:
        """Starts a tool. Its output is kept in the staging directory's `NAME.log`, for a tool may say a lot."""
        return self.box.start(name, argv, self._shared(), self.image, self.staging)

    def ready(self) -> None:
        """Has the container of the tools started, and does not wait for it."""
        self.box.open(self._shared(), self.image, self.staging)

    def close(self) -> None:
        """No tool is started after this one: their container ends, which takes Docker a while, beside what is left to do."""
        self.box.close()

    def _shared(self) -> list[str]:
        return self._container(f"stowage-backup-{self.run}-", f"container:{self.container}")

    def alone(self, name: str, *argv: str) -> str:
        """What a tool said that reads what a stranger may have written: in a container of its own, without a network."""
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
            # Its messages are read, whatever language the image speaks.
            *("-e", f"PGOPTIONS={self.options}", "-e", "LC_MESSAGES=C"),
            *("-e", "PGHOST=127.0.0.1", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pull", "never"),
        ]

    def finish(self, name: str, started: Started | subprocess.Popen[bytes], encoding: str = "utf-8") -> str:
        """Waits for the end of a tool; what it said, or a failure with the last lines of it."""
        status, output = self.said(name, started, encoding)
        if status:
            raise self._failure(name, status, output)
        return output

    def said(self, name: str, started: Started | subprocess.Popen[bytes], encoding: str = "utf-8") -> tuple[int, str]:
        """Waits for the end of a tool; its status, and what it said."""
        return started.wait(), (self.staging / f"{name}.log").read_text(encoding, errors="replace")

    def _failure(self, name: str, status: int, output: str) -> Failed:
        """The last words of a tool; where a disk is full, which one, and how full."""
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
    """Ends the containers of one run, or those that any run left, and the networks that were theirs."""
    theirs = ("--filter", f"label={LABEL}={run}" if run else f"label={LABEL}")
    networks = subprocess.Popen(
        ["docker", "network", "ls", "-q", *theirs], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    ids = docker("ps", "-aq", *theirs).split()
    if not run:  # whoever was killed while Docker made its worker has left one that never ran
        unused = ("--filter", "status=created", "--filter", "status=exited")
        ids += docker("ps", "-aq", "--filter", "name=^stowage-backup-[0-9]", *unused).split()
    if ids:
        docker("rm", "-f", *ids)
    # One that the worker itself is still in stays, and its run removes it.
    if ids := networks.communicate()[0].split():
        docker("network", "rm", *ids)


def docker(*arguments: str) -> str:
    """The output of a docker command; empty when it fails."""
    done = subprocess.run(["docker", *arguments], text=True, capture_output=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def must(*arguments: str) -> str:
    """The output of a docker command that has to work."""
    done = subprocess.run(["docker", *arguments], text=True, capture_output=True, check=False)
    if done.returncode:
        raise Failed(FAILED, f"docker {arguments[0]} failed", done.stderr.strip()[-500:])
    return done.stdout.strip()


def running(name: str) -> bool:
    return bool(docker("ps", "-q", "-f", f"name=^{name}$"))


def stop(names: Sequence[str]) -> None:
    """Stops containers, and comes back when they are stopped, also when the run itself is being stopped."""
    if not names:
        return
    stopping = subprocess.Popen(
        ["docker", "stop", *names], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        _, errors = stopping.communicate()
    except BaseException:
        # Docker goes on with it: who started them meanwhile would find them running, and do nothing.
        stopping.wait()
        raise
    if stopping.returncode:
        hint = f"on the host: docker stop {' '.join(names)}; or take it out of backup.dependents; then the same again"
        raise Failed(RESTORE_FAILED, f"{', '.join(names)} cannot be stopped", errors.strip()[-500:], hint)


def start(names: Sequence[str]) -> dict[str, str]:
    """Starts each for itself; gives those that do not start, and why."""
    silent = {}
    for name in names:
        done = subprocess.run(["docker", "start", name], text=True, capture_output=True, check=False)
        if done.returncode:
            silent[name] = done.stderr.strip()[-300:]
    return silent
