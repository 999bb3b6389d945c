"""Debian packages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from converge.long import as_unit
from converge.resource import Reading, Resource, Shell, State, Step
from converge.shell import words

LISTS_ARE_OLD = 24 * 60
"""Minutes after which the package lists are fetched again before something is installed."""

_APT = (
    "apt-get -q -y -o DPkg::Lock::Timeout=600 -o Dpkg::Options::=--force-confold"
    " -o Dpkg::Options::=--force-confdef -o APT::Color=0"
)


@dataclass(frozen=True)
class Packages(Resource):
    """Packages that are installed, whatever their version; nothing is upgraded or removed."""

    kind: ClassVar[str] = "packages"
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
        names = sorted({name for one in wanted for name in one.names})
        return f"dpkg-query -W -f '${{Package}} ${{db:Status-Status}} ${{Provides}}\\n' -- {words(names)}"

    @classmethod
    def read(cls, wanted: Sequence[Packages], answer: str) -> list[Reading]:
        have = {line.split(" ")[0]: line.split(" ")[1] for line in answer.splitlines() if line.count(" ")}
        found: list[Reading] = []
        for one in wanted:
            state = {name: have.get(name, "not-installed") for name in one.names}
            found.append(state if "installed" in state.values() else None)
        return found

    def note(self, before: State | None) -> str:
        return ", ".join(self.missing(before))

    def missing(self, before: State | None) -> list[str]:
        return [name for name in self.names if (before or {}).get(name) != "installed"]

    def diff(self, before: State | None) -> list[str]:
        return [f"{name}: not installed" for name in self.missing(before)]

    def fix(self, before: State | None) -> list[Step]:
        command = f"""
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l LC_ALL=C
[ -z "$(dpkg --audit)" ] || dpkg --configure -a --force-confold
if [ -z "$(find /var/lib/apt/lists -maxdepth 1 -name '*Packages*' -mmin -{LISTS_ARE_OLD} -print -quit)" ] ||
   ! ( for name in {words(self.missing(before))}; do apt-cache show -- "$name" >/dev/null 2>&1 || exit 1; done ) ||
   [ -n "$(find /etc/apt -newer /var/lib/apt/lists/partial -name '*.sources' -print -quit)" ]; then {_APT} update || exit 1; fi
{_APT} install --no-install-recommends -- {words(self.missing(before))}
"""
        return [Shell(as_unit("apt", command))]
