"""The kinds of resource of a PostgreSQL server: data that fits its version, an image that has all it needs, a server that answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from converge.engine.resource import Reading, Refusal, Resource, Shell, State, Step, Unknown
from converge.record import dataclass
from converge.resources.compose import GRACE, UNPROVEN, Project
from converge.resources.docker import CommonQuestions, inspect, inspected_image
from converge.shell import quote, quote_all, sh, write_record
from roles.postgres.question import CLUSTER
from roles.postgres.server import CONTAINER, Server, facts_of
from roles.postgres.trial import BEFORE, COMPOSE

RECORD = "/var/lib/stowage/postgres"
"""The record of where the data was when a deploy last saw it served, so that an emptied folder is not taken for a new one."""
LOOKED_INTO = "/var/lib/stowage/postgres.image"
"""What the image was found to have: its id, PostgreSQL's major version, its extensions, in a line each."""


@dataclass(frozen=True)
class Data(Resource):
    """A data directory that a server of this major version can serve, or one that may become one. It is never changed."""

    kind: ClassVar[str] = "pg-data"
    path: str
    major: int

    @property
    def name(self) -> str:
        return self.path

    def desired(self) -> State:
        return {"fits": "yes"}

    def stands_on(self) -> tuple[str, ...]:
        return (f"path:{self.path}",)

    @classmethod
    def probe(cls, wanted: Sequence[Data]) -> str:
        (data,) = wanted
        return f"""for file in {RECORD} {quote(data.path + "/PG_VERSION")}; do
  line=; [ ! -f "$file" ] || IFS= read -r line <"$file" || :; printf '%s\\n' "$line"
done
[ "$line" ] || {sh("ls -A -- {} 2>/dev/null | head -n 1", data.path)}"""

    @classmethod
    def read(cls, wanted: Sequence[Data], answer: str) -> list[Reading]:
        recorded, version, first, *_ = [*answer.split("\n"), "", "", ""]
        return [data._state(recorded.strip(), version.strip(), first.strip()) for data in wanted]

    def _state(self, recorded: str, version: str, first: str) -> State:
        if version:
            return {"fits": "yes" if version == str(self.major) else "other version", "version": version}
        if recorded == self.path:
            return {"fits": "lost"}
        if recorded:
            return {"fits": "elsewhere", "recorded": recorded}
        return {"fits": "no database", "first": first} if first else {"fits": "yes"}

    def refusal(self, before: State | None) -> Refusal | None:
        state = before or {}
        path = quote(self.path)
        return {
            "other version": Refusal(
                f"PostgreSQL {state.get('version')} wrote it, and the settings name an image of {self.major}, which cannot read it",
                f"set postgres.major and its image to {state.get('version')}; to move to {self.major}: dump with the old one, "
                "restore with the new one: docs/runbook.md",
            ),
            "lost": Refusal(
                "this host served a database from there, and now there is none: is its drive mounted, was it moved?",
                f"bring it back; or, to begin with an empty one, on the host: rm {RECORD}",
            ),
            "elsewhere": Refusal(
                f"this host's database lies in {state.get('recorded')}, and a new one would be empty",
                f"on the host: docker stop postgres; cp -a {quote(state.get('recorded', ''))} {path}; or set postgres.data back",
            ),
            "no database": Refusal(
                f"files lie there that are no database, {state.get('first')} for one",
                f"name a folder that is empty or does not exist yet; on the host: ls -la {path}",
            ),
        }.get(state.get("fits", ""))

    def fix(self, before: State | None) -> list[Step]:
        return []


@dataclass(frozen=True)
class Offer(Resource):
    """An image that has PostgreSQL of this major version, and all of these extensions; looked into once, before it runs."""

    kind: ClassVar[str] = "pg-image"
    reference: str
    major: int
    extensions: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.reference

    def desired(self) -> State:
        return {"major": str(self.major), "extensions": " ".join(self.extensions)}

    def stands_on(self) -> tuple[str, ...]:
        return (f"image:{self.reference}",)

    @classmethod
    def probe(cls, wanted: Sequence[Offer]) -> str:
        return f"cat {LOOKED_INTO} 2>/dev/null || :"

    @classmethod
    def common_questions(cls, wanted: Sequence[Offer]) -> CommonQuestions:
        return {inspect: [offer.reference for offer in wanted]}

    @classmethod
    def read(cls, wanted: Sequence[Offer], answer: str, *shared: str) -> list[Reading]:
        known, major, names, *_ = [*answer.split("\n"), "", "", ""]
        readings: list[Reading] = []
        for offer in wanted:
            image = inspected_image(shared[0], offer.reference)
            present = [name for name in offer.extensions if name in names.split()]
            is_known = image is not None and image.get("Id") == known
            readings.append({"major": major, "extensions": " ".join(present)} if is_known else None)
        return readings

    def refusal(self, before: State | None) -> Refusal | None:
        if before is None:
            return None
        if before["major"] != str(self.major):
            return Refusal(
                f"the image has PostgreSQL {before['major']}, and the settings say {self.major}",
                f"postgres.major: {before['major']}, if the data is of that version; or another image",
            )
        missing = [extension for extension in self.extensions if extension not in before["extensions"].split()]
        return Refusal(_lacks(missing), "take an image that has it, or remove it from databases")

    def note(self, before: State | None) -> str:
        return "looks into it before it runs"

    def fix(self, before: State | None) -> list[Step]:
        look = "postgres --version; find / -xdev -path '*/extension/*.control' 2>/dev/null; :"
        run = "docker run --rm --pull never --network none --read-only --cap-drop ALL -u 65534:65534 --entrypoint sh"
        record = """printf '%s\\n' "$id" "$major" "$names\""""
        return [
            Shell(f"""
printed=$({run} {quote(self.reference)} -c {quote(look)})
major=$(printf '%s\\n' "$printed" | sed -n 's/^postgres (PostgreSQL) \\([0-9]*\\).*/\\1/p')
names=$(printf '%s\\n' "$printed" | sed -n 's|^/.*/\\(.*\\)\\.control$|\\1|p' | sort -u | tr '\\n' ' ')
id=$(docker image inspect --format '{{{{.Id}}}}' -- {quote(self.reference)})
{write_record(LOOKED_INTO, record)}
[ "$major" = {self.major} ] || {{ echo "the image has PostgreSQL $major, and the settings say {self.major}"; exit 1; }}
for extension in {quote_all(self.extensions)}; do
  case " $names" in *" $extension "*) ;; *) echo "the image has no $extension: take an image that has it"; exit 1;; esac
done""")
        ]


def _lacks(missing: Sequence[str]) -> str:
    return f"the image has no {', no '.join(missing)}"


@dataclass(frozen=True)
class Ready(Resource):
    """A server that takes connections over the network and answers a query, within a time after its start."""

    kind: ClassVar[str] = "pg-answers"
    way_out: ClassVar[str] = "inv logs --service postgres"
    server: Server
    within: int = 300

    @property
    def name(self) -> str:
        return CONTAINER

    def desired(self) -> State:
        return {"answers": "yes", "proven": "yes", "recorded": self.server.data}

    def stands_on(self) -> tuple[str, ...]:
        return (f"project:{CONTAINER}",)

    @classmethod
    def probe(cls, wanted: Sequence[Ready]) -> str:
        return f"[ ! -e {UNPROVEN}/{CONTAINER} ] && echo yes || echo no\ncat {RECORD} 2>/dev/null || :"

    @classmethod
    def common_questions(cls, wanted: Sequence[Ready]) -> CommonQuestions:
        return wanted[0].server.common_questions()

    @classmethod
    def read(cls, wanted: Sequence[Ready], answer: str, *shared: str) -> list[Reading]:
        proven, recorded, *_ = [*answer.split("\n"), ""]
        facts = facts_of(shared, CLUSTER)
        if facts is None:
            return [None] * len(wanted)
        # A server that does not answer is a difference here, not unknown as for kinds that read what is in it.
        answers = "no" if isinstance(facts, Unknown) else "yes"
        return [{"answers": answers, "proven": proven, "recorded": recorded}] * len(wanted)

    def undone_by(self, other: Resource, made: bool) -> bool:
        return isinstance(other, Project)

    def note(self, before: State | None) -> str:
        return f"waits up to {self.within} s"

    def fix(self, before: State | None) -> list[Step]:
        # Over the network: while a new cluster is being made, a server answers on the socket alone.
        reachable = f"docker exec {CONTAINER} pg_isready -q -h 127.0.0.1 -t 3 -U {quote(self.server.superuser)}"
        # When the project does not come up, the one with which the server last answered is put back.
        back = f"""
  if [ -f {BEFORE} ] && ! cmp -s {BEFORE} {COMPOSE}; then
    cp -a {BEFORE} {COMPOSE}; docker compose --env-file /dev/null -p {CONTAINER} -f {COMPOSE} up -d --no-build --pull never --timeout {GRACE} >/dev/null 2>&1 || :
    n=0; until {reachable} 2>/dev/null || [ $n = 60 ]; do n=$((n + 1)); sleep 1; done
    {reachable} 2>/dev/null && echo 'the project before it was put back, and answers' || echo 'the project before it was put back, and does not answer either'
  fi"""
        data = sh("printf '%s\\n' {}", self.server.data)
        return [
            Shell(f"""
restarts() {{ docker inspect --format '{{{{.RestartCount}}}}' -- {CONTAINER}; }}
n=0; before=$(restarts)
until {reachable} 2>/dev/null && [ "$(echo 'select 1;' | {self.server.psql()} 2>/dev/null)" = 1 ]; do
  n=$((n + 1)); again=$(restarts)
  [ $n -lt {self.within} ] && [ $((again - before)) -lt 3 ] || {{ echo "no answer after $n s; its last words:"; docker logs --tail 6 {CONTAINER} 2>&1{back}
  exit 1; }}
  [ $((n % 8)) != 0 ] || echo "waiting: $(docker logs --tail 1 {CONTAINER} 2>&1)"
  sleep 1
done
{write_record(RECORD, data)}
rm -f {BEFORE}
rm -f {UNPROVEN}/{CONTAINER}""")
        ]
