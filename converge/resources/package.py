"""Debian packages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from converge.engine.long_commands import as_unit
from converge.engine.resource import Reading, Refusal, Resource, Shell, State, Step
from converge.record import dataclass
from converge.shell import quote_all

LISTS_ARE_OLD = 24 * 60
"""Minutes after which the package lists are fetched again before something is installed."""

_APT = (
    "apt-get -q -y -o DPkg::Lock::Timeout=600 -o Dpkg::Options::=--force-confold"
    " -o Dpkg::Options::=--force-confdef -o APT::Color=0"
)


_HELD = "held by apt-mark"
_SHOWN = {"": "not installed", "not-installed": "not installed", "config-files": "removed, its configuration is left"}


def _in_words(status: str) -> str:
    """A state of dpkg in words for a person."""
    return _SHOWN.get(status, status)


@dataclass(frozen=True)
class Packages(Resource):
    """Packages that are installed, whatever their version; nothing is upgraded or removed."""

    kind: ClassVar[str] = "packages"
    way_out: ClassVar[str] = "on the host: dpkg --audit; apt-get -f install"
    statuses: ClassVar[tuple[int, ...]] = (0, 1)
    of: str
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.of

    def desired(self) -> State:
        return dict.fromkeys(self.names, "installed")

    @classmethod
    def probe(cls, wanted: Sequence[Packages]) -> str:
        names = sorted({name for packages in wanted for name in packages.names})
        fields = "${Package} ${db:Status-Status} ${db:Status-Want} ${Provides}\\n"
        return f"dpkg-query -W -f '{fields}' -- {quote_all(names)}"

    @classmethod
    def read(cls, wanted: Sequence[Packages], answer: str) -> list[Reading]:
        rows = {line.split(" ")[0]: [*line.split(" "), ""] for line in answer.splitlines() if line.count(" ")}
        readings: list[Reading] = []
        for packages in wanted:
            state = {name: rows[name][1] if name in rows else "not-installed" for name in packages.names}
            held = [
                name
                for name, status in state.items()
                if status != "installed" and rows.get(name, [""] * 3)[2] == "hold"
            ]
            readings.append(state | {_HELD: " ".join(held)} if held or "installed" in state.values() else None)
        return readings

    def refusal(self, before: State | None) -> Refusal | None:
        held = (before or {}).get(_HELD, "")
        if not held:
            return None
        why = f"not installed, and held by apt-mark: {held}"
        return Refusal(why, f"on the host: apt-mark unhold {quote_all(held.split(' '))}; then: inv deploy")

    def note(self, before: State | None) -> str:
        return ", ".join(self.missing(before))

    def missing(self, before: State | None) -> list[str]:
        return [name for name in self.names if (before or {}).get(name) != "installed"]

    def diff(self, before: State | None) -> list[str]:
        return [f"{name}: {_in_words((before or {}).get(name, ''))}" for name in self.missing(before)]

    def fix(self, before: State | None) -> list[Step]:
        command = f"""
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l LC_ALL=C
tries=0
while [ -n "$(dpkg --audit)" ]; do # what was cut in the middle, unless somebody is just at it
  message=$(dpkg --configure -a --force-confold 2>&1) && break
  tries=$((tries + 1))
  case $message in *lock*) [ $tries -lt 120 ];; *) false;; esac || {{ printf '%s\n' "$message"; exit 1; }}
  echo "waiting for another dpkg: $message"; sleep 5
done
if [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*Packages*' -mmin -{LISTS_ARE_OLD} -print -quit)" ] ||
   ! ( for name in {quote_all(self.missing(before))}; do apt-cache show -- "$name" >/dev/null 2>&1 || exit 1; done ) ||
   [ -n "$(find /etc/apt -newer /var/lib/apt/lists/partial -name '*.sources' -print -quit)" ]; then {_APT} update || exit 1; fi
{_APT} install --no-install-recommends -- {quote_all(self.missing(before))}
"""
        return [Shell(as_unit("apt", command))]
