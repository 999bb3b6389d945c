"""Programs that run with the configuration which their files hold now.

What counts is read from the host, never remembered: the time at which the inode of a file last changed, which nobody
can set back, against the start of the program or our last reload of it. So a restart that a cut took away is found by
the next run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from converge.engine.resource import Reading, Resource, Shell, State, Step
from converge.record import dataclass
from converge.resources.contents import Contents
from converge.resources.docker import CommonQuestions, containers, inspect, moment
from converge.resources.previous import loaded, put_back
from converge.resources.unit import comes_back, forgiven, show, units
from converge.shell import quote, quote_all, sh

STAMPS = "/run/stowage-fresh"
"""A reboot empties it, and starts every program anew."""

_WANTED = {"runs with": "its files as they are"}


def _facts(names: Sequence[str], files: Sequence[Sequence[str]], folders: Sequence[Sequence[str]]) -> str:
    """Per program one line with the last changes of its files, and one with our last reload.

    Behind the reload stands `same` where files were changed since, but not in what they say: only in their mode, say.
    """
    programs = zip(names, files, folders, strict=True)
    lines = [
        f"""times=$(stat --printf '%Z ' -- {quote_all([*paths, *within])}); printf '%s\\n' "$times"
stamp=; sum=; [ ! -e {STAMPS}/{quote(name)} ] || read -r stamp sum <{STAMPS}/{quote(name)}
for time in $times; do
  [ "$time" -gt "${{stamp:-$time}}" ] || continue
  [ "$({_sum(paths)})" != "$sum" ] || stamp="$stamp same"; break
done; printf '%s\\n' "$stamp\""""
        for name, paths, within in programs
    ]
    return "\n".join(lines)


def _sum(files: Sequence[str]) -> str:
    return f"cat -- {quote_all(files)} | sha256sum | cut -c 1-64"


def _read(started: int, times: str, stamp: str) -> Reading:
    """From start of the program, last change of its files, last reload by us (seconds; empty where there is none).

    Who started after our reload may have read something else meanwhile: then it does not count that files are the same.
    """
    reloaded_at, _, same = stamp.partition(" ")
    changed, reloaded = max(map(int, times.split()), default=0), int(reloaded_at or 0)
    if not started:
        return None
    fresh = changed <= max(started, reloaded) or (same and started <= reloaded)
    return _WANTED if fresh else {"runs with": "older files"}


@dataclass(frozen=True)
class FreshUnit(Resource):
    """A systemd service that has been restarted (or reloaded) since its files changed.

    When it does not come back, the files before are put back (`File.until_loaded`), and it is started as it was.
    """

    kind: ClassVar[str] = "fresh"
    way_out: ClassVar[str] = "on the host: systemctl status {name}; journalctl -u {name} -n 30"
    unit: str
    files: tuple[str, ...]
    act: str = "restart"
    watches: tuple[str, ...] = ()
    """What only a start takes up, such as the unit's own file and its drop-ins; none of it need be there, nor be ours."""

    @property
    def name(self) -> str:
        return self.unit

    def desired(self) -> State:
        return _WANTED

    def stands_on(self) -> tuple[str, ...]:
        return (f"unit:{self.unit}", *(f"path:{path}" for path in self.files))

    @classmethod
    def probe(cls, wanted: Sequence[FreshUnit]) -> str:
        facts = _facts(
            [fresh_unit.unit for fresh_unit in wanted], [fresh_unit.files for fresh_unit in wanted], [()] * len(wanted)
        )
        watched = [
            f"stat --printf '%Z ' -- {quote_all(fresh_unit.watches)} || :; echo" if fresh_unit.watches else "echo"
            for fresh_unit in wanted
        ]
        return "\n".join([facts, *watched])

    @classmethod
    def common_questions(cls, wanted: Sequence[FreshUnit]) -> CommonQuestions:
        return {show: [fresh_unit.unit for fresh_unit in wanted]}

    @classmethod
    def read(cls, wanted: Sequence[FreshUnit], answer: str, *shared: str) -> list[Reading]:
        properties, lines = units(shared[0]), answer.split("\n")
        # The start of its process, not the moment at which it was ready: it reads its files in between. Who started within the
        # second in which a file changed may have read the older one.
        started = [
            int(properties.get(fresh_unit.unit, {}).get("ExecMainStartTimestamp", "").lstrip("@") or 0)
            for fresh_unit in wanted
        ]
        return [
            {"runs with": "an older unit file"}
            if start and start < max(map(int, lines[2 * len(wanted) + at].split()), default=0)
            else _read(start and start - 1, *lines[2 * at : 2 * at + 2])
            for at, start in enumerate(started)
        ]

    def undone_by(self, other: Resource, made: bool) -> bool:
        return other.name in self.files

    def note(self, before: State | None) -> str:
        return f"{self.act}s {self.unit}" if before else ""

    def disrupts(self, before: State | None) -> bool:
        return before is not None and self.act == "restart"

    def fix(self, before: State | None) -> list[Step]:
        older = (before or {}).get("runs with") == "an older unit file"
        act = forgiven(self.unit) + sh("systemctl {} -- {}", "restart" if older else self.act, self.unit)
        stamp = _stamp(self.unit, self.files)
        return [Shell(f"{comes_back(self.unit, act, self.files, stamp)}\n{stamp}")]


@dataclass(frozen=True)
class FreshContainer(Resource):
    """A container that has been told to reload, or was restarted, since its files changed.

    When that fails, the files before are put back (`File.until_loaded`), and after a restart it is started with them.
    """

    kind: ClassVar[str] = "loaded"
    way_out: ClassVar[str] = "inv logs --service {name}"
    container: str
    files: tuple[str, ...]
    act: str
    """Shell of the host with which it takes them up: see `reloaded`."""
    says: str
    restarts: bool = False
    folders: tuple[str, ...] = ()
    """Of its files, where it takes up whatever lies there: one that has gone is a change as well."""
    retired: str = ""
    """What stands in the title of a process that serves the older files no more; where it is said, a reload waits for
    all processes of that name that its main process had. Else who asks a moment later may still be answered by one of them.
    """

    @property
    def name(self) -> str:
        return self.container

    def desired(self) -> State:
        return _WANTED

    def stands_on(self) -> tuple[str, ...]:
        return (f"container:{self.container}", *(f"path:{path}" for path in (*self.files, *self.folders)))

    @classmethod
    def probe(cls, wanted: Sequence[FreshContainer]) -> str:
        names, files = (
            [fresh_container.container for fresh_container in wanted],
            [fresh_container.files for fresh_container in wanted],
        )
        return _facts(names, files, [fresh_container.folders for fresh_container in wanted])

    @classmethod
    def common_questions(cls, wanted: Sequence[FreshContainer]) -> CommonQuestions:
        return {inspect: [fresh_container.container for fresh_container in wanted]}

    @classmethod
    def read(cls, wanted: Sequence[FreshContainer], answer: str, *shared: str) -> list[Reading]:
        by_name, lines = containers(shared[0]), answer.split("\n")
        started = [
            by_name[fresh_container.container].started if fresh_container.container in by_name else ""
            for fresh_container in wanted
        ]
        return [_read(moment(start), *lines[2 * at : 2 * at + 2]) for at, start in enumerate(started)]

    def undone_by(self, other: Resource, made: bool) -> bool:
        return other.name in self.files or (isinstance(other, Contents) and other.name in self.folders)

    def note(self, before: State | None) -> str:
        return self.says if before else ""

    def disrupts(self, before: State | None) -> bool:
        return before is not None and self.restarts

    def fix(self, before: State | None) -> list[Step]:
        if before is None:
            exists = sh("docker container inspect -- {} >/dev/null", self.container)
            return [Shell(f"{exists}\n{loaded(self.files)}")]
        # What was started a moment ago, by a change before this one, may not take a reload yet.
        return [
            Shell(f"""
{put_back(self.files)}
IFS='|' read -r _ _ started main _ <<END
$({inspect([self.container])})
END
{self._started_since() if self.restarts else ""}
older={"$(cat /proc/$main/task/$main/children 2>/dev/null) || :" if self.retired else ""}
tries=1; {":" if self.restarts else '[ $(($(date +%s) - $(date -d "$started" +%s))) -gt 10 ] || tries=10'}
act() {{ {self.act}
}}
until {"( act )" if self.restarts else "act"}; do
  tries=$((tries - 1)); [ $tries = 0 ] || {{ sleep 1; continue; }}
  since=$(date -d "$started" +%s); [ ! -e {_stamp_of(self.container)} ] || read -r since _ <{_stamp_of(self.container)}
  if put_back "$since"; then
    echo 'that failed: the previous files are put back, and it runs with them'
    {"act" if self.restarts else ""}
    {_stamp(self.container, self.files)}
  else echo 'that failed, and no previous files are kept that could be put back'; fi
  exit 1
done
tries=100
for worker in $older; do
  cmp -s /proc/$worker/comm /proc/$main/comm || continue
  while [ $tries -gt 0 ] && [ -e /proc/$worker ] && ! grep -qsF -- {quote(self.retired)} /proc/$worker/cmdline; do
    tries=$((tries - 1)); sleep 0.1
  done
done
{loaded(self.files)}
{_stamp(self.container, self.files)}""")
        ]

    def taken_up(self, act: str) -> str:
        """Shell for a program of the host's own that writes one of its files: it is taken up by `act`, and that is known here."""
        return f"{act}\n{_stamp(self.container, self.files)}\n"

    def _started_since(self) -> str:
        """Whether a change before this one made the container anew: then it has read its files."""
        newest = f"$(stat -c %Z -- {quote_all([*self.files, *self.folders])} | sort -n | tail -n 1)"
        done = f"{loaded(self.files)}\n{_stamp(self.container, self.files)}"
        return f'if [ "$(date -d "$started" +%s)" -gt "{newest}" ]; then\n{done}\nexit 0; fi'


def reloaded(container: str, files: tuple[str, ...], *command: str, retired: str = "") -> FreshContainer:
    """A container that takes up its files by a command in it."""
    act = f"docker exec {quote(container)} {quote_all(command)}"
    return FreshContainer(container, files, act, f"runs {' '.join(command)} in {container}", retired=retired)


def _stamp(name: str, files: Sequence[str]) -> str:
    return f'mkdir -p {STAMPS}; echo "$(date +%s) $({_sum(files)})" >{_stamp_of(name)}'


def _stamp_of(name: str) -> str:
    return f"{STAMPS}/{quote(name)}"
