"""A compose project: its file, and its services running as the file, their own files and their images say."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from typing import Any, ClassVar

from converge.engine.resource import Reading, Refusal, Resource, Shell, State, Step
from converge.inventory.secret import Secret
from converge.record import dataclass
from converge.resources.container_facts import differences
from converge.resources.docker import (
    GUARD,
    CommonQuestions,
    Container,
    containers,
    each_running,
    inspect,
    moment,
    others,
    plain,
)
from converge.resources.file import Directory
from converge.resources.mount import Mount
from converge.shell import quote, quote_all, sh

LABEL = "org.stowage.hash"
FILE = "compose.yaml"
# What YAML does not take as it stands, though JSON does.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
FOLDER = "/etc/stowage"
UNPROVEN = "/var/lib/stowage/unproven"
"""One empty file for each project that was changed and whose `Answers` has not succeeded since."""
ALTERED, OLDER = "altered", "older"
"""States of a container that runs, but not as its definition says, or with other secrets than there are now."""
GRACE = 90
"""Seconds that a service may take to stop; a storage server flushes for up to a minute."""


@dataclass(frozen=True)
class Project(Resource):
    """A compose project, whose services are recreated only when their own hash changes.

    `services` and `networks` are compose's own. `also_hashed` adds what compose does not know to a service's hash: the files
    that it reads only at its start, and its image. `together` recreates and starts all services when one must change.
    """

    kind: ClassVar[str] = "project"
    way_out: ClassVar[str] = "inv logs"
    project: str
    services: Mapping[str, Mapping[str, Any]]
    networks: Mapping[str, Any] = field(default_factory=dict)
    also_hashed: Mapping[str, str] = field(default_factory=dict)
    together: bool = False
    read_at_start: tuple[str, ...] = ()
    """Files that its services read only at their start, above all secrets: a service that started before has older ones."""
    hidden: Mapping[str, Mapping[str, Secret]] = field(default_factory=dict)
    """What the variables of each service's `env_file` have to hold. It stands in no definition and no hash."""
    warning: str = ""
    """Shown in the plan whenever the project is made or changed."""

    @property
    def name(self) -> str:
        return self.project

    @property
    def path(self) -> str:
        return f"{FOLDER}/{self.project}/compose.yaml"

    def hash_of(self, service: str) -> str:
        hashed = [self.services[service], self.networks, self.also_hashed.get(service, "")]
        return hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest()[:16]

    def text(self) -> str:
        """The compose file. JSON is YAML, and needs no quoting rules; `$` is doubled, as compose would fill it in."""
        services = {
            name: {**definition, "labels": {**definition.get("labels", {}), LABEL: self.hash_of(name)}}
            for name, definition in self.services.items()
        }
        file = {"name": self.project, "services": services, "networks": self.networks}
        return (
            _UNPRINTABLE.sub(
                lambda match: f"\\u{ord(match[0]):04x}", json.dumps(_dollars(file), indent=2, ensure_ascii=False)
            )
            + "\n"
        )

    def desired(self) -> State:
        return dict(self._hashes)

    @cached_property
    def _hashes(self) -> dict[str, str]:
        return {FILE: hashlib.sha256(self.text().encode()).hexdigest()} | {
            name: f"{self.hash_of(name)} running" for name in self.services
        }

    def _container(self, service: str) -> str:
        return str(self.services[service]["container_name"])

    @property
    def _grace(self) -> int:
        """Seconds that its services may take to stop, by their own definitions."""
        periods = [str(service.get("stop_grace_period", f"{GRACE}s")) for service in self.services.values()]
        return max((int(period.removesuffix("s")) for period in periods), default=GRACE)

    @property
    def binds(self) -> Iterator[tuple[str, str, str]]:
        """Container, directory on the host, and where it is in the container, of every bind."""
        for definition in self.services.values():
            for volume in definition.get("volumes", ()):
                if volume["type"] == "bind":
                    yield definition["container_name"], volume["source"], volume["target"]

    def gives(self) -> tuple[str, ...]:
        return tuple(f"container:{service['container_name']}" for service in self.services.values())

    def stands_on(self) -> Iterator[str]:
        """Its file, Docker, and for each service its image, its networks, its user and all that it has bound."""
        yield from (f"path:{self.path}", "unit:docker.service")
        yield from (f"network:{name}" for name in self.networks)
        for definition in self.services.values():
            user, _, group = str(definition.get("user", "")).partition(":")
            yield from (f"image:{definition.get('image')}", f"uid:{user}", f"gid:{group}")
        for _, source, _ in self.binds:
            yield from (f"path:{source}", f"within:{source}")

    @classmethod
    def probe(cls, wanted: Sequence[Project]) -> str:
        """Containers, and whether what they have bound is still what lies there on the host (same device, same inode)."""
        return f"""sha256sum -- {quote_all(project.path for project in wanted)}; echo
set --
{_running(wanted, f"${inspect.__name__}", '"$@"')}
done
set -- "$@" {quote_all(path for project in wanted for path in project.read_at_start)}
[ $# = 0 ] || timeout 5 stat -L -c '%d:%i@%Y %n' -- "$@"
exit 0"""

    @classmethod
    def common_questions(cls, wanted: Sequence[Project]) -> CommonQuestions:
        services = [definition for project in wanted for definition in project.services.values()]
        # An image says which variables of a container are its own.
        return {inspect: [definition[key] for key in ("container_name", "image") for definition in services]}

    @classmethod
    def read(cls, wanted: Sequence[Project], answer: str, *shared: str) -> list[Reading]:
        sums, inodes = [*(part.splitlines() for part in answer.split("\n\n", 1)), []][:2]
        by_name, env = containers(shared[0]), _environments(shared[0])
        networks = [network["Id"] for network in others(shared[0], "IPAM") if "Id" in network]
        files = {line.split("  ", 1)[1]: line.split("  ", 1)[0] for line in sums if "  " in line}
        where = {line.split(" ", 1)[1]: line.split(" ", 1)[0] for line in inodes if " " in line}
        return [project._state(files, by_name, where, env, networks) for project in wanted]

    def _state(
        self,
        sums: Mapping[str, str],
        by_name: Mapping[str, Container],
        inodes: Mapping[str, str],
        env: Mapping[str, Sequence[str]],
        networks: Sequence[str],
    ) -> Reading:
        state = {FILE: sums[self.path]} if self.path in sums else {}
        for name, definition in self.services.items():
            container = by_name.get(definition["container_name"])
            if not container:
                continue
            state[name] = f"{container.hash or 'foreign'} {self._status(definition, container, inodes)}"
            if container.hash == "" or container.project != self.project:
                state["foreign"] = definition["container_name"]
            elif container.hash == self.hash_of(name):
                image_env = env.get(plain(definition["image"]), ())
                facts, hidden = json.loads(container.facts or "{}"), self.hidden.get(name, {})
                differing = differences(definition, facts, image_env, networks, hidden)
                if differing:
                    state[name] = (
                        f"{container.hash} {'tuned' if all(difference.in_place for difference in differing) else ALTERED}"
                    )
                    state[f"{name} differs"] = "\n".join(map(str, differing))
                    state[f"{name} mend"] = "\n".join(difference.in_place for difference in differing)
        return state or None

    def _status(self, definition: Mapping[str, Any], container: Container, inodes: Mapping[str, str]) -> str:
        """Docker's status, or that the container runs with other binds, or with older secrets, than there are now."""
        if container.status != "running":
            return container.status
        own_binds = [bind for bind in self.binds if bind[0] == definition["container_name"]]
        if any(
            source in inodes
            and inodes.get(f"/proc/{container.pid}/root{target}", "").split("@")[0] != inodes[source].split("@")[0]
            for _, source, target in own_binds
        ):
            return "late"
        written = max((int(inodes[path].split("@")[1]) for path in self.read_at_start if path in inodes), default=0)
        return OLDER if written > moment(container.started) else "running"

    def refusal(self, before: State | None) -> Refusal | None:
        if before and "foreign" in before:
            return Refusal(
                f"a container named {before['foreign']} is there that Stowage did not make",
                sh("on the host: docker inspect {}", before["foreign"]),
            )
        return None

    def undone_by(self, other: Resource, made: bool) -> bool:
        """A container sees neither a drive that is mounted later nor a bound directory that was removed and made anew."""
        if other.kind == "network":
            return not made and other.name in self.networks
        if other.name in self.read_at_start:
            return True
        if isinstance(other, Mount):
            return any(source.startswith(f"{other.path}/") for _, source, _ in self.binds)
        return made and any(isinstance(other, Directory) and source == other.path for _, source, _ in self.binds)

    def note(self, before: State | None) -> str:
        return f"warning: {self.warning}" if self.warning else ""

    def diff(self, before: State | None) -> list[str]:
        file = [] if (before or {}).get(FILE) == self.desired()[FILE] else [f"{self.path}: differs"]
        return file + [f"{name}: {self._difference(name, before or {})}" for name in self.changed(before)]

    def _difference(self, service: str, before: State) -> str:
        if service not in before:
            return "is not there: created"
        old, state = before[service].split(" ")
        if old != self.hash_of(service):
            return "its definition, files or image changed: recreated"
        if state in (ALTERED, "tuned"):
            lines = before[f"{service} differs"].splitlines()
            how = "recreated" if state == ALTERED else "mended while it runs"
            return "; ".join([*lines[:4], *([f"and {len(lines) - 4} more"] if len(lines) > 4 else [])]) + f": {how}"
        if state == OLDER:
            return "runs with secrets that were written anew after its start: restarted"
        if state == "late":
            return "was started before what it has bound was mounted or made: restarted"
        return f"is {state}: started"

    def changed(self, before: State | None) -> list[str]:
        """The services that are not as they should be."""
        return [name for name in self.services if (before or {}).get(name) != self.desired()[name]]

    def disrupts(self, before: State | None) -> bool:
        return any(
            name in (before or {}) and (before or {})[name].endswith((" running", " late", f" {ALTERED}", f" {OLDER}"))
            for name in self.changed(before)
        )

    def fix(self, before: State | None) -> list[Step]:
        stale = any(
            (before or {}).get(name, "").split(" ")[0] not in ("", self.hash_of(name)) for name in self.services
        )
        services = list(self.services) if self.together and stale else self.changed(before)
        status = {name: (before or {}).get(name, "").partition(" ")[2] for name in self.services}
        every_one = self.together and stale
        anew = [self._container(name) for name in services if status[name] in (ALTERED, "dead") and not every_one]
        older = [self._container(name) for name in services if status[name] == OLDER and not every_one]
        if older and self.together:  # nobody can see which service has read which file
            older = [self._container(name) for name in self.services if status[name] in ("running", OLDER)]
        mends = "\n".join((before or {}).get(f"{name} mend", "") for name in services if status[name] == "tuned")
        folder, names = self.path.rpartition("/")[0], [service["container_name"] for service in self.services.values()]
        compose = f"docker compose --env-file /dev/null -p {self.project} -f {self.path}"
        up = f"{compose} up -d --no-build --pull never --timeout {self._grace} --quiet-pull -- {quote_all(services)}"
        return [
            Shell(f"""
mkdir -p -m 0755 {folder}; rm -f {folder}/compose-??????.yaml; new=$(mktemp {folder}/compose-XXXXXX.yaml); trap 'rm -f "$new"' EXIT
printf %s {quote(self.text())} >"$new"; chmod 0644 "$new"
docker compose --env-file /dev/null -p {self.project} -f "$new" config -q
sync "$new"; mv -f "$new" {self.path}; sync {folder}
mkdir -p -m 0750 {UNPROVEN}; : >{UNPROVEN}/{self.project}; sync {UNPROVEN}
{_strays(self.project, names, self._grace)}
{mends}
{f"docker stop -t {self._grace} -- {quote_all(anew)} || :; docker rm -f -- {quote_all(anew)}" if anew else ""}
{_started(up, names) if services else ""}
late={quote(" ".join(older))} containers=$({inspect(names)}) || :
{self._older_by_now(names)}
{_running([self], "$containers")}
while [ $# -gt 1 ]; do
  there=$(timeout 5 stat -L -c %d:%i -- "$1") && [ "$there" != "$(timeout 5 stat -L -c %d:%i -- "$2")" ] && late="$late $name"; shift 2
done; done
# All at once: the nodes of a cluster are not to be restarted one after the other.
[ -z "$late" ] || printf '%s\\n' $late | sort -u | xargs -P 0 -n 1 docker restart -t {self._grace} --
""")
        ]

    def _older_by_now(self, names: Sequence[str]) -> str:
        """Shell that collects in `late` the services that started before their secrets were written; of a cluster, all nodes."""
        if not self.read_at_start:
            return ""
        who = quote(" ".join(names)) if self.together else '"$name"'
        return f"""written=$(stat -L -c %Y -- {quote_all(self.read_at_start)} 2>/dev/null | sort -n | tail -n 1)
for name in {quote_all(names)}; do
  at=$(docker inspect -f '{{{{.State.Running}}}} {{{{.State.StartedAt}}}}' -- "$name" 2>/dev/null) || continue
  case $at in true*) ;; *) continue;; esac
  [ "${{written:-0}}" -le "$(date -d "${{at#true }}" +%s)" ] || late="$late "{who}
done"""


def _environments(inspected: str) -> dict[str, Sequence[str]]:
    """What each image puts into the environment of its containers, by all its references."""
    return {
        plain(reference): (image.get("Config") or {}).get("Env") or ()
        for image in others(inspected, "RootFS")
        for reference in (*(image.get("RepoTags") or ()), *(image.get("RepoDigests") or ()))
    }


def _strays(project: str, names: Sequence[str], grace: int) -> str:
    """Shell that removes containers of this project under other names: compose would take a renamed one for ours.

    A paused container is continued, as otherwise a start does nothing.
    """
    own_names = quote(f" {' '.join(names)} ")
    listed = f"docker ps -a --filter label={LABEL} --filter label=com.docker.compose.project={project}"
    return f"""{listed} --format '{{{{.Names}}}}|{{{{.State}}}}' | while IFS='|' read -r stray state; do
case {own_names} in
  *" $stray "*) [ "$state" != paused ] || docker unpause -- "$stray";;
  *) echo "$stray is a container of {project} under another name: removed"; docker stop -t {grace} -- "$stray"; docker rm -- "$stray";;
esac; done"""


def _started(up: str, names: Sequence[str]) -> str:
    """`up`, also after a power cut in the middle of a start: Docker then holds the ports for no container, until it is
    restarted while containers run on (https://github.com/moby/moby/issues/20486, /36591).
    """
    return f"""up() {{ {up}; }}
up || {{
  port=$(docker inspect --format '{{{{.State.Error}}}}' -- {quote_all(names)} 2>/dev/null |
    sed -n 's/.*Bind for [^ ]*:\\([0-9]*\\) failed: port is already allocated.*/\\1/p' | head -n 1)
  [ -n "$port" ] && [ -z "$(docker ps -q --filter "publish=$port")" ] || exit 1
  echo "Docker holds port $port for no container, as after a power cut: it is started anew"
  systemctl restart docker.service; up
}}"""


def _running(projects: Sequence[Project], inspected: str, *before: str) -> str:
    """The head of a loop over what `inspect` said: for a container that runs, $1 is what it has bound, $2 how it sees that, ..."""
    places: dict[str, list[str]] = {}
    for project in projects:
        for container, source, target in project.binds:
            places.setdefault(container, []).append(f"{quote(source)} /proc/$pid/root{quote(target)}")
    return each_running(inspected, {name: f"set -- {' '.join([*before, *paths])}" for name, paths in places.items()})


@dataclass(frozen=True)
class NoProject(Resource, removes="project"):
    """A compose project of ours that is no longer wanted: its containers are removed, what they bound stays."""

    kind: ClassVar[str] = "project"
    way_out: ClassVar[str] = "inv logs"
    project: str
    keeps: str = "what it keeps on the host"

    @property
    def name(self) -> str:
        return self.project

    @classmethod
    def for_removal(cls, name: str) -> NoProject:
        return cls(name)

    def desired(self) -> None:
        return None

    @classmethod
    def probe(cls, wanted: Sequence[NoProject]) -> str:
        names = quote_all(no_project.project for no_project in wanted)
        ask = 'ids=$(docker ps -aq --filter "label=com.docker.compose.project=$name") || exit 1'
        return GUARD + f"for name in {names}; do {ask}; set -- $ids; echo $#; done"

    @classmethod
    def read(cls, wanted: Sequence[NoProject], answer: str) -> list[Reading]:
        counts = [*answer.split(), *["0"] * len(wanted)]
        return [{"containers": count} if count != "0" else None for count in counts[: len(wanted)]]

    def note(self, before: State | None) -> str:
        return f"{self.keeps} stays"

    def fix(self, before: State | None) -> list[Step]:
        # Each has the time to stop that it was made with.
        file = f"{FOLDER}/{self.project}/compose.yaml"
        down = f"docker compose --env-file /dev/null -p {self.project} -f {file} down 2>&1"
        return [Shell(f"{down}\nrm -f -- {file} {FOLDER}/{self.project}/compose-??????.yaml")]


def _dollars(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, Mapping):
        return {key: _dollars(item) for key, item in value.items()}
    return [_dollars(item) for item in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True)
class Answers(Resource):
    """Something that answers over HTTP on the host itself, within a time after it was started."""

    kind: ClassVar[str] = "answers"
    way_out: ClassVar[str] = "inv status; inv logs --service {container}"
    of: str
    urls: tuple[str, ...]
    within: int = 120
    status: str = "200"
    after: tuple[Step, ...] = ()
    """Steps that prove more than an answer, once all of them answer."""

    @property
    def name(self) -> str:
        return self.of

    def desired(self) -> State:
        return {url: self.status for url in self.urls} | {"proven": "yes"}

    def stands_on(self) -> tuple[str, ...]:
        return (f"project:{self.of}",)

    @classmethod
    def probe(cls, wanted: Sequence[Answers]) -> str:
        urls = " ".join(f"-o /dev/null {quote(url)}" for answers in wanted for url in answers.urls)
        marks = f"for mark in {quote_all(f'{UNPROVEN}/{answers.of}' for answers in wanted)}; do [ ! -e $mark ] || echo $mark; done"
        return f"{marks}\ncommand -v curl >/dev/null || exit 0; {_CURL} {urls} || :"

    @classmethod
    def read(cls, wanted: Sequence[Answers], answer: str) -> list[Reading]:
        codes = dict(line.split(" ", 1)[::-1] for line in answer.splitlines() if " " in line)
        readings: list[Reading] = []
        for answers in wanted:
            state = {url: codes.get(url, "000") for url in answers.urls}
            proven = {"proven": "no" if f"{UNPROVEN}/{answers.of}" in answer.splitlines() else "yes"}
            readings.append(state | proven if any(code != "000" for code in state.values()) else None)
        return readings

    def undone_by(self, other: Resource, made: bool) -> bool:
        # Of projects its own alone: what it follows may change without it.
        return other.address == f"{Project.kind}:{self.name}" or other.kind == "forwarding"

    def note(self, before: State | None) -> str:
        return f"waits up to {self.within} s"

    def fix(self, before: State | None) -> list[Step]:
        urls = " ".join(f"-o /dev/null {quote(url)}" for url in self.urls)
        proven = f"rm -f {UNPROVEN}/{self.of}"
        wait = f"""
n=0
while :; do
  codes=$({_CURL} {urls} || :)
  [ "$(printf '%s\\n' "$codes" | grep -c '^{self.status} ')" != {len(self.urls)} ] || {{ {"" if self.after else f"{proven}; "}exit 0; }}
  n=$((n + 1)); [ $n -lt {self.within} ] || {{ echo "no answer after {self.within} s:"; printf '%s\\n' "$codes"; exit 1; }}
  [ $((n % 8)) != 0 ] || {{ printf 'waiting: '; printf '%s\\n' "$codes" | tr '\\n' ' '; echo; }}
  sleep 1
done"""
        return [Shell(wait), *self.after, *([Shell(proven)] if self.after else [])]


_CURL = "curl -q -s -k --noproxy '*' --parallel --connect-timeout 2 -m 4 -w '%{http_code} %{url}\\n'"
