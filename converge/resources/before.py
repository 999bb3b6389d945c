"""What must have been done before a service is started with another image, such as the upgrade of a schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, ClassVar

from converge.engine.resource import Reading, Resource, Shell, State, Step
from converge.record import dataclass
from converge.resources.compose import FOLDER, Project
from converge.resources.docker import CommonQuestions, containers, inspect
from converge.shell import quote, quote_all, write_record

DONE = "/var/lib/stowage/before"
"""One file for each command: the image for which it was last seen to be done."""
NEVER = 3
"""The exit status of a check for what no command of this image can do, such as tables that a newer one has made."""
PATIENCE = 120
"""Seconds for a check, with the start of its container."""


@dataclass(frozen=True)
class Before(Resource):
    """A command that is run in a container of a service's image before the service itself is, unless its check says that it has
    been done. It is asked when the service gets another image, and when it ends as soon as it is started.
    """

    kind: ClassVar[str] = "before"
    container: str
    label: str
    image: str
    """The image that the service gets, by reference and content."""
    definition: Mapping[str, Any] = field(hash=False)
    """Of the service's container, as compose takes it: the command has the same user, files, variables and networks."""
    networks: Mapping[str, Any] = field(hash=False)
    command: tuple[str, ...]
    unless: tuple[str, ...]
    guard: str = ""
    """Shell that ends with 1, and says why, where the command may not be run now."""
    asks_for: str = ""
    """What the guard wants, in words."""

    @property
    def name(self) -> str:
        return f"{self.container} {self.label}"

    @property
    def record(self) -> str:
        """The name of its file."""
        return f"{self.container}.{self.label}"

    def desired(self) -> State:
        return {"image": self.image, "starts": "yes"}

    def stands_on(self) -> tuple[str, ...]:
        reference, networks = self.definition["image"], self.networks
        return (f"image:{reference}", "unit:docker.service", *(f"network:{name}" for name in networks))

    @classmethod
    def probe(cls, wanted: Sequence[Before]) -> str:
        return f"cd {DONE} 2>/dev/null && grep -s -H '' -- {quote_all(before.record for before in wanted)} || :"

    @classmethod
    def common_questions(cls, wanted: Sequence[Before]) -> CommonQuestions:
        return {inspect: [before.container for before in wanted]}

    @classmethod
    def read(cls, wanted: Sequence[Before], answer: str, *shared: str) -> list[Reading]:
        records = dict(line.split(":", 1) for line in answer.splitlines() if ":" in line)
        by_name = containers(shared[0])
        ending = {name for name, container in by_name.items() if container.status == "restarting"}
        return [
            {"image": records[before.record], "starts": "no" if before.container in ending else "yes"}
            if before.record in records
            else None
            for before in wanted
        ]

    def disrupts(self, before: State | None) -> bool:
        return before is not None

    def note(self, before: State | None) -> str:
        wants = f", after {self.asks_for}" if self.asks_for else ""
        return f"runs {' '.join(self.command)}{wants}, unless its check in the image says that it has been done"

    def fix(self, before: State | None) -> list[Step]:
        own = {key: value for key, value in self.definition.items() if key not in ("container_name", "ports")}
        asked = {
            name: {
                **own,
                "restart": "no",
                "pull_policy": "never",
                "entrypoint": [program[0]],
                "command": list(program[1:]),
            }
            for name, program in (("command", self.command), ("unless", self.unless))
        }
        made, name = f"stowage-before-{self.container}", quote(self.container)
        text = Project(made, asked, self.networks).text()
        compose = f'docker compose --env-file /dev/null -p {made} -f "$new" run --rm -T --no-deps --name {made}'
        grace = str(self.definition.get("stop_grace_period", "30s")).removesuffix("s")
        return [
            Shell(f"""
mkdir -p -m 0755 {FOLDER}/{name}; rm -f {FOLDER}/{name}/before-??????.yaml
new=$(mktemp {FOLDER}/{name}/before-XXXXXX.yaml); trap 'rm -f "$new"' EXIT
printf %s {quote(text)} >"$new"
if docker inspect -f x -- {made} >/dev/null 2>&1; then
  echo "{made} was left by a deploy that was cut off: its end is waited for"
  docker wait {made} >/dev/null 2>&1 || :
  docker rm -f {made} >/dev/null 2>&1 || :
fi
unless() {{ timeout -k 5 {PATIENCE} {compose} unless </dev/null 2>&1; }}
ended=0; said=$(unless) || ended=$?
[ $ended = 0 ] || printf '%s\\n' "$said" | tail -n 5
case $ended in
0) ;;
124|125|126|127|137)
  docker rm -f {made} >/dev/null 2>&1 || :
  echo "its check, unless, says nothing ($ended): it is not run, and {name} is as it was"; exit 1;;
{NEVER})
  echo "its check says that it cannot be run with {self.definition["image"]}; {name} is as it was"; exit 1;;
*)
  {self.guard}
  was=$(docker inspect -f '{{{{if .State.Running}}}}{{{{.Config.Image}}}}{{{{end}}}}' -- {name} 2>/dev/null) || was=
  [ -z "$was" ] || docker stop -t {grace} -- {name} >/dev/null
  why='it failed'
  ! {compose} command </dev/null || {{ said=$(unless) && why= || why="it ran, and its check still says no: $(printf '%s\\n' "$said" | tail -n 5)"; }}
  if [ -n "$why" ]; then
    echo "$why"; [ -z "$was" ] || {{ docker start -- {name} >/dev/null; echo "{name} was started again as it was before"; }}
    exit 1
  fi
  # With another image it is made anew by what comes next.
  [ "$was" != {quote(self.definition["image"])} ] || docker start -- {name} >/dev/null;;
esac
mkdir -p -m 0750 {DONE}
{write_record(f"{DONE}/{self.record}", f"echo {quote(self.image)}")}""")
        ]
