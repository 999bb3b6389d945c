"""Fixtures of the unit tests: this machine's /bin/sh as a host, a kind of resource, a storage host, and golden files."""

from __future__ import annotations

import copy
import json
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import hypothesis
import pytest

from converge.engine import plan as planning
from converge.engine import probe
from converge.engine.plan import Plan
from converge.engine.resource import Refusal, Resource, Step, in_order
from converge.engine.role import Role
from converge.engine.steps import Done, carry_out
from converge.inventory.secret import Secret
from converge.ssh.root_shell import RootShell
from roles.settings.model import Settings

# A busy machine is slow, which is no failure of the code under test.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
PATIENCE = 20.0
LARGEST_FILE = 1 << 30


class Pipe:
    """A local shell with the interface of one behind SSH."""

    def __init__(self, script: str) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the pipe is)
        self._line = b""
        # A session of its own, so that all its processes can be killed; its output is limited, so that it fills no disk.
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", f"ulimit -f {LARGEST_FILE // 512}\n{script}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            bufsize=0,
            start_new_session=True,
        )

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            if self.process.stdin.closed:
                raise BrokenPipeError
            view = view[self.process.stdin.write(view) :]

    def readline(self, timeout: float | None = None) -> bytes:
        while b"\n" not in self._line:
            # A local shell that is silent for so long hangs.
            if not select.select([self.process.stdout], [], [], min(timeout or PATIENCE, PATIENCE))[0]:
                raise TimeoutError
            more = os.read(self.process.stdout.fileno(), 1 << 16)
            if not more:
                line, self._line = self._line, b""
                return line
            self._line += more
        line, _, self._line = self._line.partition(b"\n")
        return line + b"\n"

    def close_stdin(self) -> None:
        self.process.stdin.close()

    def exit_status(self) -> int:
        return max(self.process.wait(PATIENCE), -1)

    def stderr_tail(self) -> str:
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")

    def end(self) -> None:
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        for file in (self.process.stdin, self.process.stdout, self._stderr):
            with suppress(OSError):
                file.close()
        self.process.wait()


class Link:
    """A link to this machine."""

    def __init__(self) -> None:
        self.target = SimpleNamespace(name="here")
        self.pipes: list[Pipe] = []
        self.lost = False

    def alive(self) -> bool:
        return not self.lost

    def shell(self, script: str) -> Pipe:
        self.pipes.append(Pipe(script))
        return self.pipes[-1]

    def send(self, command: str, chunks: Iterable[bytes], on_bytes: Any = None) -> tuple[int, bytes, bytes]:
        done = subprocess.run(["/bin/sh", "-c", command], input=b"".join(chunks), capture_output=True, check=False)
        return done.returncode, done.stdout, done.stderr


class Here(RootShell):
    """A root shell of a host whose files are in a folder: `places` maps paths of the host to paths of this machine."""

    places: dict[str, str]
    programs: Path

    def start(self, body: str) -> None:
        for place, here in self.places.items():
            body = body.replace(place, here)
        super().start(f"PATH={self.programs}:$PATH\n{body}")


class Machine:
    """This machine as a host: probes and fixes run for real, in its own shell."""

    def __init__(self, link: Link, folder: Path) -> None:
        self.link, self.folder, self.shell = link, folder, Here(link)
        self.places = {"/var/lib/stowage": f"{folder}/stowage", "/run/stowage": f"{folder}/run-stowage"}
        self.shell.places, self.shell.programs = self.places, folder / "programs"
        self.shell.programs.mkdir()
        # Nothing here must survive a power cut, and a busy disk makes sync slow.
        self.program("sync", "exit 0")
        self.events: list[tuple[str, str, str]] = []

    def program(self, name: str, script: str) -> None:
        """Replaces a program that this machine lacks, or that a test must not start."""
        file = self.shell.programs / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def takes(self, value: object) -> bool:
        """Whether `run` leaves a value unchanged; paths of the host in it would become paths of this machine."""
        return not any(place in str(value) for place in self.places)

    def run(self, body: str) -> tuple[int, str]:
        return self.shell.run(body)

    def read(self, *resources: Resource) -> list[Any]:
        _, answer = self.run(probe.script(resources, "marker"))
        readings, _ = probe.read(resources, answer, "marker")
        return [readings[resource.address] for resource in resources]

    def plan(self, *resources: Resource) -> Plan:
        role = Role("role", lambda host: [in_order(*resources)])
        readings = dict(zip((resource.address for resource in resources), self.read(*resources), strict=True))
        return planning.make("here", [role], planning.wanted(role, None), readings, {})

    def carry_out(self, plan: Plan) -> Done:
        return carry_out(
            self.shell,
            self.link,
            plan.todo,
            lambda event, change, text: self.events.append((event, change.address, text)),
        )

    def deploy(self, *resources: Resource) -> Done:
        """Deploys these resources; refused ones are not touched."""
        return self.carry_out(self.plan(*resources))


def inspected(definition: dict[str, Any]) -> dict[str, Any]:
    """The output of `docker inspect` for a container that compose made of a definition, as of Docker 26."""
    ports: dict[str, Any] = {}
    for port in definition.get("ports", ()):
        ip, outside, inside = port.rsplit(":", 2)
        ports.setdefault(f"{inside}/tcp", []).append({"HostIp": ip.strip("[]"), "HostPort": outside})
    return {
        "HostConfig": {
            "Privileged": False,
            "CapDrop": definition.get("cap_drop"),
            "SecurityOpt": definition.get("security_opt"),
            "ReadonlyRootfs": definition.get("read_only", False),
            "IpcMode": "private",
            "NetworkMode": "stowage",
            "RestartPolicy": {"Name": definition.get("restart", "no"), "MaximumRetryCount": 0},
            "Memory": 0,
            "PortBindings": ports,
            "ExtraHosts": definition.get("extra_hosts"),
            "Tmpfs": dict.fromkeys(definition.get("tmpfs", ()), ""),
            "ShmSize": int(definition.get("shm_size", 67108864)),
        },
        "Config": {
            "User": definition.get("user", ""),
            "Entrypoint": definition.get("entrypoint"),
            "Cmd": definition.get("command"),
            "Env": [f"{key}={value}" for key, value in definition.get("environment", {}).items()],
            "Hostname": definition.get("hostname", "0123456789ab"),
            "Image": definition["image"],
            "StopSignal": definition.get("stop_signal"),
            "Healthcheck": {"Test": definition.get("healthcheck", {}).get("test")},
        },
        "Mounts": [
            {
                "Type": volume["type"],
                "Source": volume.get("source"),
                "Destination": volume["target"],
                "RW": not volume.get("read_only"),
            }
            for volume in definition.get("volumes", ())
        ],
        "Networks": {
            name: {"IPAMConfig": {"IPv4Address": (settings or {}).get("ipv4_address", "")}}
            for name, settings in dict(definition.get("networks", {})).items()
        },
    }


class Docker:
    """A `docker` program that knows objects by name, and records all other calls."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.things, self._calls = machine, machine.folder / "docker", machine.folder / "docker-calls"
        self.things.mkdir()
        self.answers(True)

    def answers(self, does: bool, otherwise: str = "exit 0") -> None:
        """Whether its daemon answers; `otherwise` is the shell for all calls but `inspect` and `version`."""
        self.machine.places["[ -S /run/docker.sock ]"] = "true" if does else "false"
        inspect = (
            f'while [ "$1" != -- ]; do shift; done; shift; status=0; cd {self.things}\n'
            'for one do cat -- "$(printf %s "$one" | tr / _)" || status=1; done; exit $status'
        )
        asked = f'case $1 in\ninspect) {inspect};;\nversion) exit 0;;\nesac\necho "$*" >>{self._calls}\n{otherwise}'
        self.machine.program("docker", asked if does else "exit 1")

    def has(self, name: str, what: dict[str, Any]) -> None:
        """Adds a network or an image, as its JSON."""
        (self.things / name.replace("/", "_")).write_text(json.dumps(what) + "\n")

    def runs(
        self, name: str, mark: str = "", project: str = "", inspected: dict[str, Any] | None = None, **more: Any
    ) -> None:
        """Adds a container, as the line in our own format; `inspected` is its compared part."""
        facts = {"status": "running", "started": "2026-01-01T00:00:00Z", "pid": 1, **more}
        line = (name, facts["status"], facts["started"], facts["pid"], mark, project, json.dumps(inspected or {}))
        (self.things / name).write_text("|".join(map(str, line)) + "\n")

    @property
    def calls(self) -> list[str]:
        return self._calls.read_text().splitlines() if self._calls.exists() else []

    def is_missing(self) -> None:
        self.machine.places["command -v docker"] = "command -v no-docker-here"


@pytest.fixture
def docker(machine: Machine) -> Docker:
    return Docker(machine)


@pytest.fixture
def link() -> Iterator[Link]:
    link = Link()
    yield link
    for pipe in link.pipes:
        pipe.end()


@pytest.fixture
def machine(link: Link, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(link, tmp_path_factory.mktemp("machine"))
    yield machine
    machine.shell.close()


@dataclass(frozen=True)
class Thing(Resource):
    """A kind of resource for tests: its state is one word."""

    kind: ClassVar[str] = "thing"
    named: str
    wants: str | None = "new"
    refuses: str = ""
    undone_after: str = ""
    steps: tuple[Step, ...] = ()
    given: tuple[str, ...] = ()
    on: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.named

    def desired(self) -> dict[str, str] | None:
        return None if self.wants is None else {"word": self.wants}

    def gives(self) -> tuple[str, ...]:
        return self.given

    def stands_on(self) -> tuple[str, ...]:
        return self.on

    def refusal(self, before: Any) -> Refusal | None:
        return Refusal(self.refuses, "look at it") if self.refuses else None

    def undone_by(self, other: Resource, made: bool) -> bool:
        return other.name == self.undone_after

    def fix(self, before: Any) -> list[Step]:
        return list(self.steps)


@pytest.fixture
def thing() -> type[Thing]:
    return Thing


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compares with a file of tests/golden; STOWAGE_GOLDEN=write writes it instead."""

    def compare(name: str, text: str) -> None:
        file = GOLDEN / f"{name}.txt"
        if os.environ.get("STOWAGE_GOLDEN") == "write":
            file.write_text(text)
        assert text == file.read_text(), f"the screen differs from {file.name}: if it should, STOWAGE_GOLDEN=write"

    return compare


WEATHERLEARN: dict[str, Any] = {
    "roles": ["base", "drives", "docker", "images", "minio", "edge", "postgres", "stack", "buckets", "databases"],
    "drives": [
        {"device": f"/dev/disk/by-id/ata-DISK_{n}", "label": f"drive{n}", "path": f"/mnt/drive{n}"}
        for n in (1, 2, 3, 4)
    ],
    "images": {
        "minio": {"reference": "docker.io/pgsty/silo:RELEASE.2026-09-16T00-00-00Z"},
        "nginx": {"reference": "docker.io/library/nginx:1.28"},
        "postgres": {"reference": "docker.io/pgrouting/pgrouting:17-3.5-3.7"},
    },
    "minio": {
        "nodes": [
            {"name": f"minio{n}", "drive": drive, "address": f"172.30.99.1{n}"}
            for n, drive in enumerate(("drive3", "drive2", "drive4", "drive1"), 1)
        ],
        "root_user": Secret("SENTINEL-root-user"),
        "root_password": Secret("SENTINEL-root-password"),
        "root_drive_threshold": "500GiB",
    },
    "edge": {
        "routes": [
            {"port": 9000, "to": "minio-api"},
            {"port": 9001, "to": "minio-console", "sticky": True, "websocket": True},
        ]
    },
    "postgres": {"address": "172.30.99.20", "superuser_password": Secret("SENTINEL-superuser")},
    "database_users": [
        {"name": "geo", "password": Secret("SENTINEL-database")},
        {"name": "reader", "password": Secret("SENTINEL-reader"), "member_of": ["geo", "pg_monitor"]},
    ],
    "databases": [{"name": "geo", "owner": "geo", "extensions": ["postgis", "pgrouting"]}, {"name": "scratch"}],
    "buckets": [
        {"name": "superdarn-data", "versioning": True},
        {"name": "models", "lifecycle": [{"id": "old", "expire_noncurrent_days": 90}], "quota": "2TiB"},
    ],
    "policies": [{"name": "reader", "statements": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}],
    "users": [
        {
            "name": "science",
            "password": Secret("SENTINEL-user-password"),
            "policies": ["reader"],
            "service_accounts": [{"access_key": "science-app", "secret_key": Secret("SENTINEL-secret-key")}],
        }
    ],
}


@pytest.fixture
def storage_host() -> Callable[..., SimpleNamespace]:
    """The storage server of WeatherLearn and a database server, with changes to its settings."""

    def make(**changes: Any) -> SimpleNamespace:
        # Secrets refuse to be copied, so the copy shares them.
        secrets = {id(secret): secret for secret in _secrets(WEATHERLEARN)}
        settings = copy.deepcopy(WEATHERLEARN, secrets)
        for path, value in changes.items():
            *above, last = (int(step) if step.isdigit() else step for step in path.split("__"))
            place: Any = settings
            for step in above:
                place = place[step] if isinstance(step, int) else place.setdefault(step, {})
            place[last] = value
        return SimpleNamespace(name="prod", settings=Settings.model_validate(settings), root=ROOT)

    return make


def _secrets(value: Any) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _secrets(item)
