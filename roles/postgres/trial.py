"""Settings that a server of the very image takes: tried on a throwaway one before the running one is stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import ClassVar

from converge.engine.resource import Reading, Resource, Shell, State, Step
from converge.record import dataclass
from converge.resources.compose import FOLDER
from converge.resources.docker import CommonQuestions, inspect, inspected_image
from converge.shell import quote, quote_all, write_record
from roles.postgres.server import CONTAINER

TRIED = "/var/lib/stowage/postgres.tried"
"""The settings and the image that were tried, as a hash."""
COMPOSE = f"{FOLDER}/{CONTAINER}/compose.yaml"
BEFORE = f"/var/lib/stowage/previous{COMPOSE}"
"""The project with which the server last answered: put back when the new one does not come up."""
# A throwaway server does not have the files that lie with the data, and the running server has the huge pages.
_ELSEWHERE = ("ssl", "ssl_", "huge_pages", "data_", "external_pid_file")


@dataclass(frozen=True)
class Trial(Resource):
    """Settings with which a throwaway server of the image comes up, with the same user, memory and limits."""

    kind: ClassVar[str] = "pg-trial"
    reference: str
    group: int
    shm_size: int
    folder: str
    """The folder of our configuration, which settings may refer to."""
    inside: str
    settings: Mapping[str, str] = field(hash=False)

    @property
    def name(self) -> str:
        return CONTAINER

    @property
    def arguments(self) -> list[str]:
        settings = {key: value for key, value in self.settings.items() if not key.startswith(_ELSEWHERE)}
        return [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]

    @property
    def _hash(self) -> str:
        return hashlib.sha256(json.dumps([self.shm_size, self.arguments]).encode()).hexdigest()[:16]

    def desired(self) -> State:
        return {"tried": "yes"}

    def stands_on(self) -> tuple[str, ...]:
        return (f"image:{self.reference}",)

    @classmethod
    def probe(cls, wanted: Sequence[Trial]) -> str:
        return f"cat {TRIED} 2>/dev/null || :"

    @classmethod
    def common_questions(cls, wanted: Sequence[Trial]) -> CommonQuestions:
        return {inspect: [trial.reference for trial in wanted]}

    @classmethod
    def read(cls, wanted: Sequence[Trial], answer: str, *shared: str) -> list[Reading]:
        tried = answer.strip()
        readings: list[Reading] = []
        for trial in wanted:
            image = inspected_image(shared[0], trial.reference)
            known = image is not None and f"{image.get('Id')} {trial._hash}" == tried
            # Absent until the trial was made: an image that arrives in this very plan must not make it a new change.
            readings.append({"tried": "yes"} if known else None)
        return readings

    def diff(self, before: State | None) -> list[str]:
        return []

    def note(self, before: State | None) -> str:
        return "tries the settings on a throwaway server"

    def fix(self, before: State | None) -> list[Step]:
        run = "docker run --rm --pull never --network none --read-only --cap-drop ALL --security-opt no-new-privileges:true"
        room = f"--shm-size {self.shm_size} --tmpfs /tmp --tmpfs /run/postgresql -v {quote(f'{self.folder}:{self.inside}:ro')}"
        # The image's user `nobody`, in the group that may read our configuration: initdb needs a user that the image knows.
        who = f"-u 65534:{self.group} --entrypoint sh"
        tried = f"""printf '%s %s\\n' "$id" {self._hash}"""
        return [
            Shell(f"""
{run} {room} {who} {quote(self.reference)} -c {quote(_SCRIPT)} - {quote_all(self.arguments)} || {{
  echo 'a throwaway server does not start with these postgres.settings; the running one was not touched'; exit 1; }}
[ ! -f {COMPOSE} ] || {{ mkdir -p {BEFORE.rpartition("/")[0]}; cp -a {COMPOSE} {BEFORE}; }}
id=$(docker image inspect --format '{{{{.Id}}}}' -- {quote(self.reference)})
{write_record(TRIED, tried)}""")
        ]


# A whole start: only then is all memory requested.
_SCRIPT = """
initdb -N -A trust -U postgres -D /tmp/data >/tmp/log 2>&1 || { tail -n 6 /tmp/log; exit 1; }
( n=0; until pg_isready -q -h /tmp && : >/tmp/up || [ $n = 300 ]; do n=$((n + 1)); sleep 0.2; done
kill -INT "$(head -n 1 /tmp/data/postmaster.pid)" ) &
postgres -D /tmp/data "$@" -c listen_addresses= -c unix_socket_directories=/tmp -c logging_collector=off -c log_destination=stderr -c log_line_prefix= >/tmp/log 2>&1
[ -e /tmp/up ] || { grep -E '(FATAL|ERROR|DETAIL|HINT):' /tmp/log || tail -n 6 /tmp/log; exit 1; }"""
