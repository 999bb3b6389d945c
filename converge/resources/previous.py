"""The file that was there before ours: kept for people, and until the program that reads it runs with ours."""

from __future__ import annotations

import re
from collections.abc import Sequence

from converge.shell import quote, quote_all

STATE = "/var/lib/stowage"
_PREVIOUS, _PENDING, _NONE = f"{STATE}/previous", f"{STATE}/pending", f"{STATE}/pending-none"
KEYS = f"{STATE}/keys"
"""Which keys of a JSON file are ours."""


def keep(path: str, secret: bool) -> str:
    """Keep what lies there. A secret file is not kept; only `keep_until_loaded` does so, until its program runs with the new one."""
    kept = quote(_PREVIOUS + path)
    return "" if secret else _folder(kept) + f"cp -a --remove-destination -- {quote(path)} {kept}\n"


def keep_until_loaded(path: str) -> str:
    """Keep what lies there, or that nothing does. What was kept earlier stays: a file with which the program never ran is no way back."""
    kept, none, file = quote(_PENDING + path), quote(_NONE + path), quote(path)
    save = f"if [ -e {file} ]; then {_folder(kept)}cp -a -- {file} {kept}; else {_folder(none)}: >{none}; fi"
    return f"[ -e {kept} ] || [ -e {none} ] || {{ {save}; }}\n"


def loaded(paths: Sequence[str]) -> str:
    """Forget what was kept: the program runs with the new files."""
    return f"rm -f -- {quote_all(place + path for path in _with_keys(paths) for place in (_PENDING, _NONE))}"


def put_back(paths: Sequence[str]) -> str:
    """A shell function `put_back SECONDS`: what was kept since that moment takes its place again; it fails where nothing was.

    The moment is that at which the program last took its files up.
    """
    return f"""newer() {{ [ -e "$1" ] && [ "$(stat -c %Z -- "$1")" -ge "$2" ]; }}
put_back() {{
  back=
  for path in {quote_all(_with_keys(paths))}; do
    if newer "{_PENDING}$path" "$1"; then from="{_PENDING}$path"
    elif newer "{_NONE}$path" "$1"; then rm -f -- "$path"; back=yes; continue
    elif newer "{_PREVIOUS}$path" "$1"; then from="{_PREVIOUS}$path"
    else continue; fi
    cp -a --remove-destination -- "$from" "$path.stowage-back" && mv -fT -- "$path.stowage-back" "$path" && back=yes
  done
  {loaded(paths)}
  [ "$back" ]
}}"""


def _with_keys(paths: Sequence[str]) -> list[str]:
    return [place for path in paths for place in (path, KEYS + path)]


def _folder(quoted: str) -> str:
    return f'mkdir -p -m 0700 -- "$(dirname {quoted})"; '


def kept_aside(folder: str, names: Sequence[str]) -> str:
    """Shell that moves everything out of a folder but these, to where what lay there before is kept."""
    wanted = " ".join(f"! -path {quote(_literally(f'{folder}/{name}'))}" for name in names)
    return f"""
find {quote(folder)} -mindepth 1 -depth {wanted} -print0 | xargs -0 -r -n 1 sh -c '
if [ -d "$1" ] && [ ! -L "$1" ]; then rmdir -- "$1"
else mkdir -p -m 0700 -- "{_PREVIOUS}$(dirname -- "$1")/"; mv -fT -- "$1" "{_PREVIOUS}$1"; fi' sh
sync {quote(folder)}"""


def _literally(path: str) -> str:
    """A path as a pattern of `find`, which stands for itself alone."""
    return re.sub(r"([\\*?[])", r"\\\1", path)
