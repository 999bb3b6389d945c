"""A fresh clone of the project with its own lab host, used through its commands only."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.systems import DEFAULT, PREPARED
from tests.lab import ledger, lines, warm
from tests.lab.places import CACHE, place

HERE = Path(__file__).resolve().parents[2]
USUAL = DEFAULT if os.environ.get("STOWAGE_BARE") else PREPARED
"""The prepared system image, for hosts whose tests are not about installing packages: other tests are, and script/soak for these."""
COPIED_ANEW = (
    "roles",
    "converge",
    "runbook",
    "worker",
    "lab",
    "inventory/group_vars",
    "inventory/host_vars",
    "inventory/secrets",
    "templates",
    "files",
)


class Screen(str):
    """The output of a command. `in` ignores line breaks."""

    def __contains__(self, text: str) -> bool:  # type: ignore[override]
        return super().__contains__(text) or text in " ".join(self.split())


@dataclass
class Clone:
    """A checkout and its lab host; `inv` runs a command in it, `on_host` runs a shell command on the host itself."""

    root: Path
    host: str = "lab"

    def inv(self, *arguments: str, code: int | None = 0, **more: Any) -> str:
        """The output of a command, standard error included; with `code` its exit code is checked."""
        if arguments[0].startswith("lab."):
            lines.hang_up(self.root, self.host)
        with ledger.spent(f"inv {arguments[0]}"):
            ended, output = self._run(arguments, more)
        assert code is None or ended == code, f"inv {' '.join(arguments)} ended with {ended}:\n{output}"
        return Screen(output)

    def _run(self, arguments: tuple[str, ...], more: dict[str, Any]) -> tuple[int, str]:
        if not more and (done := warm.run(self.root, arguments)):
            ledger.used(done[2])
            return done[:2]
        argv = [sys.executable, "-S", "converge/entry.py", *arguments]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        cold = subprocess.run(argv, cwd=self.root, check=False, timeout=1800, **streams | more)
        return cold.returncode, cold.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command in the background. Without `env` it would ignore Ctrl-C, like background programs of a shell."""
        return subprocess.Popen(
            ["env", "--default-signal=INT", sys.executable, "-S", "converge/entry.py", *arguments],
            cwd=self.root,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    @property
    def vars(self) -> dict[str, Any]:
        import yaml

        return dict(yaml.safe_load((self.root / f"inventory/host_vars/{self.host}.yml").read_text()))

    def ssh(self) -> list[str]:
        variables = self.vars
        options = [
            "-o",
            f"UserKnownHostsFile={self.root}/inventory/known_hosts",
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=10",
        ]
        return [
            "ssh",
            "-i",
            variables["ansible_ssh_private_key_file"],
            "-p",
            str(variables["ansible_port"]),
            *options,
            "root@127.0.0.1",
        ]

    def on_host(self, script: str, check: bool = True, timeout: float = 900) -> str:
        with ledger.spent("commands on hosts"):
            done = subprocess.run(
                [*lines.along(self.root, self.host, self.ssh()), "sh -s"],
                input=script,
                text=True,
                capture_output=True,
                check=False,
                timeout=timeout,
            )
        assert not check or done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def secret(self, name: str) -> str:
        return (self.root / f"inventory/secrets/{self.host}/{name}").read_text().strip()

    def port(self, guest: int) -> int:
        code = f"from lab.hosts import published; print(published({self.host!r})[{guest}])"
        return int(
            subprocess.run(
                [sys.executable, "-c", code], cwd=self.root, text=True, capture_output=True, check=True
            ).stdout
        )

    def changes(self, *flags: str, code: int | None = None) -> dict[str, str]:
        """What `inv check` would change: address to action."""
        output = self.inv("check", "--json", *flags, code=code).splitlines()
        answer = json.loads(next(line for line in output if line.startswith("{")))
        return {change["address"]: change["action"] for host in answer["hosts"] for change in host["changes"]}


def storage_server(root: Path) -> None:
    """Makes the lab hosts of a clone the storage server of WeatherLearn alone, without databases and backups."""
    import yaml

    path = root / "inventory/group_vars/lab.yml"
    settings = yaml.safe_load(path.read_text())
    kept = {key: settings[key] for key in ("lab", "base", "minio", "edge")}
    kept["images"] = {name: settings["images"][name] for name in ("minio", "nginx")}
    path.write_text(yaml.safe_dump(kept))


def s3_of(host: Clone, key: str = "", secret: str = "", endpoint: str = "") -> Any:
    """An S3 client for a lab host, by default as root."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        endpoint_url=endpoint or f"http://127.0.0.1:{host.port(9000)}",
        aws_access_key_id=key or host.secret("root_user"),
        aws_secret_access_key=secret or host.secret("root_password"),
        region_name="us-east-1",
        config=Config(retries={"mode": "standard", "total_max_attempts": 5}, read_timeout=20),
    )


def alone(inventory: Path) -> None:
    """Removes all other hosts and groups from the inventory."""
    (inventory / "hosts.yml").write_text("all: {children: {lab: {hosts: {lab: }}}}\n")
    for group in (inventory / "group_vars").glob("*.yml"):
        if group.stem not in ("all", "lab"):
            group.unlink()
    (inventory / "host_vars/prod.yml").unlink()


def fresh(
    name: str, prepare: Callable[[Path], None] = lambda root: None, system: str = "debian-13", host: str = "lab"
) -> Clone:
    """A copy of the working tree with a new lab host, without leftovers of an earlier run."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=HERE, text=True, capture_output=True, check=True
    ).stdout
    folder = place(name)
    folder.mkdir(parents=True, exist_ok=True)
    there = Clone(folder, host)
    if (folder / "tasks.py").exists():
        there.inv("lab.down", "--host", host, code=None)
    for copied in COPIED_ANEW:
        shutil.rmtree(folder / copied, ignore_errors=True)
    for file in listed.splitlines():
        if (HERE / file).is_file():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(HERE / file, folder / file)
    prepare(folder)
    there.inv("lab.up", "--system", system, "--host", host)
    return there


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    """Saves the plan, journal and logs of a failed test's host in a folder, named in the report."""
    from tests.lab import traces

    report = yield
    if report.failed and report.when != "teardown":
        folder = traces.keep(item.nodeid, report.longreprtext, getattr(item, "funcargs", {}), CACHE / "failed")
        if folder:
            report.sections.append(("left behind", f"why, the plan, the journal and all logs of its hosts: {folder}"))
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.section("where the time went")
    for line in ledger.table():
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def clone() -> Iterator[Clone]:
    """A clone with a bare lab host that is up."""
    there = fresh("test-clone", storage_server)
    yield there
    there.inv("lab.down", code=None)


@pytest.fixture(scope="session")
def ai() -> Iterator[Clone]:
    """A bare host for all tests of the AI infrastructure; the last test takes it down."""
    there = fresh("test-ai", host="ai-lab")
    yield there
    there.inv("lab.down", "--host", "ai-lab", code=None)


@pytest.fixture(scope="session")
def kept() -> Iterator[Clone]:
    """A host with backups of its databases, for the backup tests that share it."""
    yield from _kept("test-backup")


@pytest.fixture(scope="session")
def spare() -> Iterator[Clone]:
    """Another such host, for independent tests, which can run in parallel."""
    yield from _kept("test-backup-spare")


def _kept(name: str) -> Iterator[Clone]:
    from tests.lab import backup_host

    there = backup_host.made(name)
    yield there
    there.inv("lab.down", code=None)


@pytest.fixture(scope="session")
def story(kept: Clone) -> Iterator[Any]:
    """That host with two sets of its databases."""
    from tests.lab import backup_sets

    with backup_sets.two_sets(kept) as sets_there:
        yield sets_there


@pytest.fixture
def unharmed(story: Any) -> Iterator[Any]:
    """A test that must not change what is live."""
    from tests.lab import backup_sets

    with backup_sets.unharmed(story) as story_here:
        yield story_here
