"""Docker on a host: networks and images, read and changed by its own command line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from converge.engine.resource import Reading, Refusal, Resource, Send, Shell, State, Step
from converge.record import dataclass
from converge.resources import container_facts
from converge.shell import quote, quote_all, sh

CommonQuestions = Mapping[Callable[[Sequence[str]], str], Sequence[str]]

# Docker that is not installed has nothing; Docker that does not answer is unknown.
GUARD = "command -v docker >/dev/null || exit 0\n"


LABELS = ("org.stowage.hash", "com.docker.compose.project")

# A container is one line: fields that the shell reads as well, then what is compared, as JSON. Networks and images are all JSON.
_WHAT = (
    '{{if index . "State"}}{{slice (index . "Name") 1}}'
    + "".join(f'|{{{{index . "State" "{key}"}}}}' for key in ("Status", "StartedAt", "Pid"))
    + "".join(f'|{{{{with index . "Config" "Labels"}}}}{{{{index . "{label}"}}}}{{{{end}}}}' for label in LABELS)
    + "|"
    + container_facts.FORMAT
    + "{{else}}{{json .}}{{end}}"
)


def inspect(names: Sequence[str]) -> str:
    """One `docker inspect` for containers, networks and images: 1 only means that some are missing, unless the daemon is away."""
    return (
        GUARD
        + f"out=$(docker inspect --format {quote(_WHAT)} -- {quote_all(names)} 2>/dev/null) || [ -S /run/docker.sock ] || exit 1\n"
        + 'printf \'%s\\n\' "$out"\n[ -n "$out" ] || docker version --format x >/dev/null'
    )


def each_running(inspected: str, cases: Mapping[str, str]) -> str:
    """The head of a loop over what `inspect` said: for each of these containers that runs, `$name` and `$pid`, and its case.

    The caller ends the loop with `done`.
    """
    # Not with `read`, which makes a system call for each byte: the answer has thousands of bytes for each image.
    lines = "\n".join(f"  {quote(name)}) {case}\n  ;;" for name, case in cases.items())
    return f"""set -f; IFS='
'; for line in {inspected}; do unset IFS; case $line in *'|running|'*) ;; *) continue;; esac
name=${{line%%|*}} pid=${{line#*|*|*|}}; pid=${{pid%%|*}}
case $name in
{lines}
  *) continue;;
esac"""


@dataclass(frozen=True)
class Container:
    """What `inspect` says of a container."""

    status: str
    started: str
    pid: str
    hash: str
    project: str
    facts: str = "{}"
    """JSON, as `container_facts` reads it."""


def containers(inspected: str) -> dict[str, Container]:
    """The containers that `inspect` tells of, by name."""
    lines = (line.replace("<no value>", "").split("|", 6) for line in inspected.splitlines() if line and line[0] != "{")
    return {name: Container(*rest) for name, *rest in lines}


def moment(text: str) -> int:
    """Docker's time, which has nanoseconds, in whole seconds; 0 where there is none or a container never started."""
    from datetime import UTC, datetime

    if not text or text.startswith("0001"):
        return 0
    return int(datetime.strptime(text[:19], "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp())


def others(inspected: str, mark: str) -> list[dict[str, Any]]:
    """The networks (`IPAM`) or images (`RootFS`) that `inspect` tells of."""
    return [item for line in inspected.splitlines() if line.startswith("{") if mark in (item := json.loads(line))]


def network_called(inspected: str, name: str) -> dict[str, Any] | None:
    """What `inspect` tells of the network of this name."""
    return next((network for network in others(inspected, "IPAM") if network["Name"] == name), None)


def routes(names: Sequence[str]) -> str:
    """The routes of the host: where a network's bridge is, and what a new one may collide with."""
    return "ip -4 -o route show"


def inspected_image(inspected: str, reference: str) -> dict[str, Any] | None:
    """What `inspect` tells of the image that goes by this reference."""
    name = plain(reference)
    return next(
        (
            image
            for image in others(inspected, "RootFS")
            if name in map(plain, [*(image.get("RepoTags") or []), *(image.get("RepoDigests") or [])])
        ),
        None,
    )


@dataclass(frozen=True)
class NoSnap(Resource):
    """Docker is not from snap: that one sees only parts of the host, neither data drives nor files in /etc."""

    kind: ClassVar[str] = "engine"

    @property
    def name(self) -> str:
        return "docker"

    def desired(self) -> State:
        return {"from snap": "no"}

    @classmethod
    def probe(cls, wanted: Sequence[NoSnap]) -> str:
        # Our PATH does not lead to snap's programs, and each of them is a link to snap itself.
        return """
program=$(command -v docker); [ ! -L "$program" ] || program=$(readlink -f -- "$program")
for path in /snap/bin/docker /var/lib/snapd/snap/bin/docker /snap/docker/current "$program"; do
  case $path in /snap/*|/var/lib/snapd/*|*/bin/snap) [ ! -e "$path" ] && [ ! -L "$path" ] || echo "$path";; esac
done"""

    @classmethod
    def read(cls, wanted: Sequence[NoSnap], answer: str) -> list[Reading]:
        path = answer.partition("\n")[0]
        return [{"from snap": path or "no"}] * len(wanted)

    def refusal(self, before: State | None) -> Refusal | None:
        return Refusal(
            f"Docker is snap's there ({(before or {}).get('from snap')}), which cannot reach the drives",
            "on the host, once nothing needs what runs in it: snap remove docker",
        )

    def fix(self, before: State | None) -> list[Step]:
        return []


@dataclass(frozen=True)
class Content:
    """What an image is, wherever it lies: its platform, layers and configuration."""

    platform: str
    layers: str
    config: str
    size: int = 0

    @classmethod
    def of(cls, inspected: dict[str, Any]) -> Content:
        """From what `docker image inspect` says. Ids and digests are left out: both change on the way."""
        config = inspected.get("Config") or {}
        kept = {
            key: config.get(key)
            for key in ("Cmd", "Entrypoint", "Env", "User", "WorkingDir", "Labels", "ExposedPorts")
            if config.get(key)
        }
        return cls(
            f"{inspected['Os']}/{inspected['Architecture']}",
            _hash(inspected["RootFS"].get("Layers") or []),
            _hash(kept),
            inspected.get("Size", 0),
        )


def _hash(value: object) -> str:
    import hashlib

    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Image(Resource):
    """An image that is present by content. With `shipped`, its bytes come from the operator's machine; else it is pulled."""

    kind: ClassVar[str] = "image"
    way_out: ClassVar[str] = "on the host: docker system df; df -h"
    reference: str
    shipped: Any = None
    """An object with `content() -> Content` and `stream() -> Iterator[bytes]`, or None."""
    withdrawn: Refusal | None = None
    """Why it cannot be pulled any more, and what to name instead: a host that has it may keep it."""

    @property
    def name(self) -> str:
        return self.reference

    def desired(self) -> State:
        if self.shipped is None:
            return {"present": "yes"}
        content: Content = self.shipped.content()
        return {"platform": content.platform, "layers": content.layers, "config": content.config}

    def stands_on(self) -> tuple[str, ...]:
        return ("unit:docker.service",)

    @classmethod
    def common_questions(cls, wanted: Sequence[Image]) -> CommonQuestions:
        return {inspect: [image.reference.partition("@")[0] if image.shipped else image.reference for image in wanted]}

    @classmethod
    def read(cls, wanted: Sequence[Image], answer: str, *shared: str) -> list[Reading]:
        have: dict[str, State] = {}
        for inspected in others(shared[0], "RootFS"):
            content = Content.of(inspected)
            state = {"present": "yes", "platform": content.platform, "layers": content.layers, "config": content.config}
            for name in [*(inspected.get("RepoTags") or []), *(inspected.get("RepoDigests") or [])]:
                have[plain(name)] = state
        named = [image.reference.partition("@")[0] if image.shipped else image.reference for image in wanted]
        return [have.get(plain(name)) for name in named]

    def refusal(self, before: State | None) -> Refusal | None:
        return None if self.shipped else self.withdrawn

    def note(self, before: State | None) -> str:
        if self.shipped is None:
            return "pulled by the host"
        return f"{self.shipped.content().size / 1e6:.0f} MB from this machine"

    def diff(self, before: State | None) -> list[str]:
        return ["its content differs from the one on this machine"] if before else []

    def fix(self, before: State | None) -> list[Step]:
        if self.shipped is None:
            return [
                Shell(
                    f"unset DOCKER_CONFIG; {sh('docker pull -- {}', self.reference)} || {{ echo {quote(_NO_PULL)}; exit 1; }}"
                )
            ]
        content: Content = self.shipped.content()
        stream: Iterator[bytes] = self.shipped.stream
        return [Send("docker load -q", stream, content.size, "sending")]  # type: ignore[arg-type]


_NO_PULL = "the host cannot pull it: is the name right, and does the host reach the registry? If this machine has it: ship: true"


def plain(reference: str) -> str:
    """A reference without Docker Hub's defaults and, where it has a digest, without its tag."""
    reference = reference.removeprefix("docker.io/").removeprefix("library/")
    name, _, digest = reference.partition("@")
    if digest:
        head, _, tail = name.rpartition("/")
        return f"{head}/{tail.partition(':')[0]}".lstrip("/") + "@" + digest
    return name if ":" in name.rpartition("/")[2] else name + ":latest"
