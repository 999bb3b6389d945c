"""One run of the worker: the configuration of the host, the request, and the files.

The role writes `/etc/stowage/backup/worker.json`; the operator's side writes `request.json` of the run, readable by root.
Secrets are in separate files beside the configuration, never in these two.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from worker import contract
from worker.containers import Tools
from worker.contract import ID, RESTORE_REFUSED, USAGE, Request
from worker.errors import Failed
from worker.journal import Journal
from worker.keys import Keys
from worker.postgres import Server, options
from worker.secret_file import secret_in
from worker.targets import PathTarget, Target, make
from worker.toolbox import Toolbox

CONFIG = Path(contract.CONFIG)
STATE = Path(contract.STATE)
DEPLOY = "inv deploy --role backup, which brings the worker of this checkout, then the same again"
FORSAKEN = 24 * 3600
FILE = "file"
"""The name of the target for a set from the operator's machine."""
SECRETS = ("access_key", "secret_key", "key")


@dataclass
class Job:
    """Everything that a run needs; targets are made when they are first asked for."""

    run: str
    config: dict[str, Any]
    request: Request
    journal: Journal
    dead: dict[str, str] = field(default_factory=dict)
    """Targets that were given up in this run, and why."""
    silent: set[str] = field(default_factory=set)
    """Of these the ones that do not answer; the others are full, or refused."""
    closed: dict[str, str] = field(default_factory=dict)
    """Databases that allow no connections and cannot be saved, and why."""
    lacking: set[str] = field(default_factory=set)
    """Components that could not be saved completely."""
    notes: list[str] = field(default_factory=list)
    """What a person has to know of this run although it did not fail; `inv status` shows it."""
    ways: dict[str, str] = field(default_factory=dict)
    """The remedies, if known."""
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The result of this run's check on each target."""
    begun: float = field(default_factory=time.time)

    @classmethod
    def load(cls, run: str, steps: Collection[str] = ()) -> Job:
        try:
            config = json.loads(CONFIG.read_text())
            request = Request.parse((STATE / "runs" / run / "request.json").read_text())
        except (OSError, ValueError) as error:
            raise Failed(USAGE, f"the run {run} cannot be read", str(error), DEPLOY) from None
        journal = Journal(STATE / "runs" / run / "journal.jsonl", steps, pause=request.pause)
        return cls(run, config, request, journal)

    @classmethod
    def asked(cls, request: Request) -> Job:
        """The job of a read-only question, which has no run."""
        config = json.loads(CONFIG.read_text())
        return cls("look", config, request, Journal("/dev/null", ()))

    def note(self, text: str) -> None:
        """Says something that must not be overlooked: it stands in the journal, at the end of the run and in `inv status`."""
        self.notes.append(text)
        self.journal.say(text)

    @property
    def stack(self) -> str:
        return str(self.config["stack"])

    @cached_property
    def keys(self) -> Keys:
        return Keys(secret_in(self.config["identity_file"]))

    @cached_property
    def targets(self) -> dict[str, Target]:
        if folder := self.request.folder:
            # A set from the operator's machine, unpacked for this run.
            return {FILE: PathTarget(FILE, folder, device=lambda path: int(path == folder))}
        return {target["name"]: make(_revealed(target)) for target in self.config["targets"]}

    def pruner(self, name: str) -> Target:
        """The target with credentials that may delete, if it has some."""
        target = next(target for target in self.config["targets"] if target["name"] == name)
        return make(_revealed({**target, **target.get("pruner", {})}))

    @property
    def alive(self) -> list[Target]:
        return [target for name, target in self.targets.items() if name not in self.dead]

    @property
    def has_postgres(self) -> bool:
        """Whether this stack has databases."""
        return "postgres" in self.config

    @property
    def postgres(self) -> dict[str, Any]:
        """The configuration of the server; Failed for a stack without one."""
        if not self.has_postgres:
            why = (
                "the roles of this host in the inventory name no postgres, so no database can be saved or restored here"
            )
            raise Failed(RESTORE_REFUSED, "this stack has no PostgreSQL", why, "--bucket NAME, or --service NAME")
        return dict(self.config["postgres"])

    @property
    def server(self) -> Server:
        configuration = self.postgres
        return Server(
            configuration["address"],
            configuration["port"],
            configuration["user"],
            configuration["password_file"],
            configuration["major"],
        )

    @cached_property
    def staging(self) -> Path:
        """The working directory of PostgreSQL's tools and the servers of drills, empty at the start of a run."""
        path = Path(self.config["staging"]) / self.run
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True, mode=0o700)
        self.hand_over(path)
        return path

    @cached_property
    def box(self) -> Toolbox:
        return Toolbox(f"/usr/lib/postgresql/{self.postgres['major']}/bin")

    @property
    def owner(self) -> tuple[int, int]:
        uid, _, gid = self.config["owner"].partition(":")
        return int(uid), int(gid or uid)

    def tools(self, code: int) -> Tools:
        """PostgreSQL's tools; `code` is the exit code when one of them fails."""
        configuration = self.postgres
        passwords = self.passwords(secret_in(configuration["password_file"]))
        return Tools(
            self.run,
            configuration["image"],
            configuration["container"],
            self.config["owner"],
            self.staging,
            passwords,
            configuration["user"],
            code,
            self.box,
            options(configuration["major"]),
        )

    def passwords(self, password: str) -> Path:
        """libpq's password file, in the staging directory."""
        word = password.replace("\\", "\\\\").replace(":", "\\:")
        path = self.staging / f".pgpass-{hashlib.sha256(password.encode()).hexdigest()[:8]}"
        path.touch(mode=0o600)
        path.write_text(f"*:*:*:*:{word}\n")
        self.hand_over(path)
        return path

    def hand_over(self, *paths: Path) -> None:
        """Gives files to the user that runs PostgreSQL's tools."""
        for path in paths:
            os.chown(path, *self.owner)

    def clear(self) -> None:
        """Removes staged files at the end of a run: they are the databases in clear."""
        shutil.rmtree(Path(self.config["staging"]) / self.run, ignore_errors=True)
        # the next use of the directory creates it again
        self.__dict__.pop("staging", None)

    def forget(self) -> None:
        """Removes the files that the operator's machine sent for this run."""
        if folder := self.request.folder:
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Removes staged files of interrupted runs, but not a dump from the operator's machine that may wait for its run."""
        for path in Path(self.config["staging"]).iterdir():
            if ID.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)
            elif path.stat().st_mtime < time.time() - FORSAKEN:
                if path.suffix == ".dump":
                    path.unlink()
                elif path.suffix == ".set":
                    shutil.rmtree(path, ignore_errors=True)


def _revealed(target: dict[str, Any]) -> dict[str, Any]:
    """A target's configuration with its secrets read: `secret_key_file` becomes `secret_key`."""
    revealed = {key: value for key, value in target.items() if key != "pruner"}
    for key in SECRETS:
        if path := revealed.pop(f"{key}_file", None):
            revealed[key] = secret_in(path)
    return revealed
