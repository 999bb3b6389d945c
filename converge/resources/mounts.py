"""What is mounted and what the next boot will mount: one question for all kinds that ask about mounts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from converge.record import dataclass
from converge.resources import fstab, mountinfo
from converge.resources.fstab import FstabLine
from converge.resources.mountinfo import Mounted
from converge.shell import quote_all

_NEXT = "== stowage: next"
"""Stands between the answers; fstab may hold anything, but hardly this."""


@dataclass(frozen=True)
class Mounts:
    """The lines of fstab, the kernel's table, and what a shell sees of the paths and drives that they name."""

    lines: list[FstabLine]
    mounts: list[Mounted]
    devices: frozenset[str]
    """Device files named in fstab that are there."""
    broken: frozenset[str]
    """Paths asked about that are mounted and yet cannot be looked at."""
    units: dict[str, list[str]]
    """Files of systemd, by the unit name of a path, that change or replace the unit which it generates from fstab."""


def mounts(names: Sequence[str]) -> str:
    """All about the mounts at these paths, by one `cat` and what the shell itself can do.

    Nothing that is mounted is looked at but what was asked about: a dead network filesystem would never answer.
    """
    return f"""
kernel=$(cat /proc/self/mountinfo) || exit 3
cat /etc/fstab 2>/dev/null
printf '\\n{_NEXT}\\n%s\\n{_NEXT}\\n' "$kernel"
[ ! -r /etc/fstab ] || while read -r source path rest; do
  case $source in '#'*) continue;; /dev/*) [ ! -e "$source" ] || printf 'device %s\\n' "$source";; esac
  case $path in /*) ;; *) continue;; esac
  part=$path
  while [ "${{part%/}}" ]; do
    part=${{part%/}}
    case $kernel in *" $part "*) break;; esac
    [ ! -L "$part" ] || {{ printf 'link %s %s\\n' "$path" "$(readlink -m -- "$path")"; break; }}
    part=${{part%/*}}
  done
done </etc/fstab
for path in {quote_all(names)}; do
  case $kernel in *" $path "*) [ -d "$path" ] || printf 'broken %s\\n' "$path";; esac
done
{_unit_files(names)}
echo end"""


def read(answer: str) -> Mounts:
    """The answer to `mounts`."""
    table, kernel, facts = answer.rsplit(f"\n{_NEXT}\n", 2)
    mounted = mountinfo.table(kernel)
    if not mounted:
        raise ValueError("the kernel tells of no mounts")
    by_word: dict[str, list[str]] = {}
    for line in facts.splitlines():
        word, _, rest = line.partition(" ")
        by_word.setdefault(word, []).append(rest)
    links = dict(line.split(" ", 1) for line in by_word.get("link", []))
    units: dict[str, list[str]] = {}
    for line in by_word.get("unit", []):
        name, _, file = line.partition(" ")
        units.setdefault(name, []).append(file)
    return Mounts(
        fstab.lines(table, links),
        mounted,
        frozenset(by_word.get("device", [])),
        frozenset(by_word.get("broken", [])),
        units,
    )


def _unit_files(paths: Sequence[str]) -> str:
    """Shell that lists the files with which systemd mounts these paths in another way than fstab says.

    Those of a higher rank than what is generated: units and masks; and of any rank: drop-ins, and links that make one
    of our mounts necessary for the boot.
    """
    tests = []
    for name in map(fstab.unit, paths):
        upper = [f"{folder}/system*/{_glob(name)}.*mount" for folder in ("/etc/systemd", "/run/systemd")]
        upper += [f"/run/systemd/{folder}/{_glob(name)}.*mount" for folder in ("transient", "generator.early")]
        needed = [f"{folder}/system*/*.requires/{_glob(name)}.mount" for folder in ("/etc/systemd", "/run/systemd")]
        drop = [f"{folder}/{_glob(drop_in)}mount.d" for drop_in in _drop_ins(name) for folder in _FOLDERS]
        tests.append(
            f"for file in {' '.join([*upper, *needed, *drop])}; do\n"
            f'  if [ -e "$file" ] || [ -L "$file" ]; then printf \'unit %s %s\\n\' {quote_all([name])} "$file"; fi\ndone'
        )
    return "\n".join(tests)


_FOLDERS = ("/etc/systemd/system*", "/run/systemd/system*", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")


def _drop_ins(name: str) -> list[str]:
    """The names whose drop-ins systemd reads for a unit: its own, those of each beginning, and that of all mounts."""
    beginnings = [f"{part}-." for part in accumulate(name.split("-")[:-1], lambda above, part: f"{above}-{part}")]
    return [f"{name}.", *beginnings, ""]


def _glob(name: str) -> str:
    """A unit's name within a pattern: what is escaped in it stays so."""
    return name.replace("\\", "\\\\")
