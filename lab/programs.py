"""Programs built from source through the Go module proxy, for machines that no registry answers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from converge.errors import Trouble
from converge.record import dataclass
from lab import clone, shell

HINT = "is https://proxy.golang.org reachable? `go env GOPROXY` names another"


@dataclass(frozen=True)
class Program:
    """A main package at one version, and the name and version that it reports."""

    name: str
    module: str
    version: str
    takes: str
    package: str = "."
    """Where it stands in its module."""
    calls_itself: str = ""
    """The variable of its name, where upstream has tagged the version. A commit is named like MinIO's releases."""

    @property
    def time(self) -> str:
        """When the version was committed, as it stands in it: 2026-02-12T20:18:48Z."""
        year, month, day, hour, minute, second = self._stamp
        return f"{year}-{month}-{day}T{hour}:{minute}:{second}Z"

    @property
    def release(self) -> str:
        """The name of a tagged version; of a commit, which has none, that in the form of MinIO's releases."""
        if self.calls_itself:
            return self.version
        return "RELEASE." + self.time.replace(":", "-")

    @property
    def ldflags(self) -> str:
        """The version for the linker. Without it a build calls itself DEVELOPMENT.GOGET, and clients do not know how old it is."""
        if self.calls_itself:
            return f"-s -w -X {self.calls_itself}={self.name}-{self.version}"
        commit = self.version.rpartition("-")[2]
        stamps = {
            "Version": self.time,
            "ReleaseTag": self.release,
            "CommitID": commit,
            "ShortCommitID": commit,
            "CopyrightYear": self.time[:4],
        }
        return " ".join(["-s -w", *(f"-X {self.module}/cmd.{key}={value}" for key, value in stamps.items())])

    @property
    def _stamp(self) -> tuple[str, ...]:
        commit = re.search(r"-(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)-", self.version)
        assert commit, f"{self.version} is no version of a commit"
        return commit.groups()


def binary(program: Program, architecture: str) -> Path:
    """The program for Linux on an architecture; built once, then kept outside the checkout."""
    path = clone.cache("bin", f"{program.name}-{program.release}-linux-{architecture}")
    if not path.exists():
        _build(program, architecture, path)
    return path


def _build(program: Program, architecture: str, path: Path) -> None:
    go, unfinished = _go(), path.with_suffix(".part")
    source = _source(go, program)
    shell.run(
        f"building {program.name} {program.release}",
        *(
            go,
            "build",
            "-C",
            source,
            "-buildvcs=false",
            "-ldflags",
            program.ldflags,
            "-o",
            str(unfinished),
            program.package,
        ),
        takes=program.takes,
        env={"CGO_ENABLED": "0", "GOOS": "linux", "GOARCH": architecture, "GOTOOLCHAIN": "auto"},
        hint=HINT,
    )
    unfinished.rename(path)


def _source(go: str, program: Program) -> str:
    """Go's own copy of the module, checked against its checksum database."""
    at = f"{program.module}@{program.version}"
    answer = shell.run(f"fetching {at}", go, "mod", "download", "-json", at, hint=HINT)
    return str(json.loads(answer[answer.index("{") :])["Dir"])


def _go() -> str:
    """Any Go that can fetch the version which a module asks for: 1.21 or later."""
    go = _where()
    if go is None:
        shell.apt_install("golang-go")
        go = _where()
    version = subprocess.run([go or "go", "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
    if go is None or tuple(map(int, re.findall(r"\d+", version)[:2])) < (1, 21):
        why = f"found {version.strip() or 'none'}; the lab builds MinIO from source where no registry has it"
        raise Trouble("the lab needs Go 1.21 or later", why=why, hint="https://go.dev/dl, then the same command again")
    return go


def _where() -> str | None:
    return shutil.which("go") or shutil.which("go", path=f"/usr/local/go/bin{os.pathsep}/usr/lib/go/bin")
