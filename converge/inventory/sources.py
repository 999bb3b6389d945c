"""The files of an inventory: those that are read, in Ansible's order, and those that would be ignored silently."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from converge.errors import UNTOUCHED, Trouble

SUFFIXES = ("", ".yml", ".yaml", ".json")
"""Ansible looks for the settings of a name in this order, and takes the first."""
NOTES = re.compile(
    r"\.|#|README|.*(~|\.(md|txt|rst|bak|orig|old|rej|swp|swo|tmp|retry|sample|example|disabled|off|cfg|log))$"
)
"""Hidden files, notes and leftovers of editors, which Ansible passes over as well."""
OURS = ("group_vars", "host_vars", "secrets")
INI = rb"(?m)^\s*\[[^\]\n]+\]\s*$"
AS_YAML = "ansible-inventory -i {0} --list --yaml, and write that into inventory/hosts.yml"


class Sources:
    """The folder `inventory/` of a checkout."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / "inventory"
        self.listed: dict[str, list[Path]] = {}

    def name(self, path: Path) -> str:
        return str(path.relative_to(self.root))

    def hosts_files(self) -> list[Path]:
        return [path for path in self._entries("") if path.suffix in SUFFIXES[1:] and not path.is_dir()]

    def settings_files(self, kind: str, name: str) -> list[Path]:
        """The files of `group_vars` or `host_vars` that hold the settings of a group or host."""
        here = {path.name: path for path in self._entries(kind)}
        first = next((here[f"{name}{suffix}"] for suffix in SUFFIXES if f"{name}{suffix}" in here), None)
        return list(self._within(first)) if first else []

    def _within(self, path: Path) -> Iterator[Path]:
        if not path.is_dir():
            yield path
            return
        for entry in _listed(path):
            if _is_folder_to_read(entry) or (entry.suffix in SUFFIXES and not entry.is_dir()):
                yield from self._within(entry)

    def _entries(self, folder: str) -> list[Path]:
        if folder not in self.listed:
            self.listed[folder] = _listed(self.folder / folder)
        return self.listed[folder]

    def not_read(self, groups: Collection[str], hosts: Collection[str]) -> Iterator[Trouble]:
        """Files that are not read, each with what to do about it."""
        for path in self._entries(""):
            yield from self._foreign_hosts(path)
        for kind, what, names in (("group_vars", "group", groups), ("host_vars", "host", hosts)):
            yield from self._of_nobody(kind, what, names)
            yield from self._twice(kind, what)
            for path in self._entries(kind):
                yield from self._misnamed(path)
            if (self.root / kind).exists():
                hint = f"mv {kind}/* inventory/{kind}/"
                yield _unread(f"{kind}/", f"settings of {what}s are read from inventory/{kind} alone", hint)

    def _foreign_hosts(self, path: Path) -> Iterator[Trouble]:
        name = self.name(path)
        if path.is_dir():
            if path.name not in OURS and any(_is_inventory(entry) for entry in _listed(path)):
                hint = f"move what is in {name} into inventory/"
                yield _unread(f"{name}/", "the inventory is the folder inventory/ alone, not what is below it", hint)
        elif path.suffix not in SUFFIXES[1:] and _is_program(path):
            why = "inventory scripts are not run: an inventory is what its files say"
            yield _unread(name, why, f"{AS_YAML.format(name)}; then chmod -x {name}")
        elif _is_inventory(path) and path.suffix not in SUFFIXES[1:]:
            yield _unread(name, "inventories are YAML here, not INI or TOML", AS_YAML.format(name))

    def _of_nobody(self, kind: str, what: str, names: Collection[str]) -> Iterator[Trouble]:
        for path in self._entries(kind):
            name = path.stem if path.suffix in SUFFIXES and path.name not in names else path.name
            if name in names or name == "ungrouped":
                continue
            near = (
                difflib.get_close_matches(name, names, 1, 0.5) or difflib.get_close_matches(path.stem, names, 1, 0.8)
            )[:1]
            suffix = path.suffix if path.suffix in SUFFIXES else ".yml"
            where, known = self.name(path), ", ".join(sorted(names)[:20])
            free = near and not any(other.name == f"{near[0]}{suffix}" for other in self._entries(kind))
            rename = f"mv {where} {self.name(path.with_name(f'{near[0]}{suffix}'))}" if free else ""
            yield Trouble(
                f"no {what} is named {name}",
                where=where,
                why=f"{what}s are {known}{', ...' if len(names) > 20 else ''}; so nothing reads this file",
                hint=rename or f"add {name} to inventory/hosts.yml, or remove {where}",
            )

    def _twice(self, kind: str, what: str) -> Iterator[Trouble]:
        """Files of which Ansible reads only the first, without a word about the others."""
        first: dict[str, Path] = {}
        for path in sorted(self._entries(kind), key=lambda file: SUFFIXES.index(_suffix(file))):
            name = path.name.removesuffix(_suffix(path))
            if name in first:
                yield Trouble(
                    f"the {what} {name} has two: {path.name} and {first[name].name}",
                    where=self.name(path),
                    why=f"Ansible would read {first[name].name} alone",
                    hint=f"put what {path.name} says into {self.name(first[name])}, then: rm -r {self.name(path)}",
                )
            first.setdefault(name, path)

    def _misnamed(self, folder: Path) -> Iterator[Trouble]:
        """Files in the folder of a group or host that are not read, because of their names."""
        for path in _listed(folder) if folder.is_dir() else ():
            if path.is_dir() and not _is_folder_to_read(path):
                hint = f"put what is in {self.name(path)} into {self.name(folder)}"
                yield _unread(self.name(path), "folders are read without a dot in their names, not through links", hint)
            elif path.is_dir():
                yield from self._misnamed(path)
            elif path.suffix not in SUFFIXES:
                name = self.name(path)
                hint = f"mv {name} {self.name(path.with_suffix('.yml'))}"
                yield _unread(name, "files of settings end with .yml, .yaml, .json or nothing", hint)


def _unread(where: str, why: str, hint: str) -> Trouble:
    return Trouble("it is not read", where=where, why=why, hint=hint)


def _suffix(path: Path) -> str:
    return path.suffix if path.suffix in SUFFIXES and not path.is_dir() else ""


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not NOTES.match(path.name))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        why = error.strerror or str(error)
        raise Trouble("the folder cannot be read", str(folder), why, UNTOUCHED, f"ls -ld {folder}") from None


def _is_folder_to_read(path: Path) -> bool:
    """As Ansible's, but for links, which may lead in a circle."""
    return path.is_dir() and not path.suffix and not path.is_symlink()


def _is_program(path: Path) -> bool:
    if path.suffix in (".py", ".sh"):
        return True
    return os.access(path, os.X_OK) and _begin(path).startswith(b"#!")


def _is_inventory(path: Path) -> bool:
    """Whether Ansible would find hosts in a file."""
    if path.name == "known_hosts" or not path.is_file():
        return False
    if path.suffix in (*SUFFIXES[1:], ".ini", ".toml") or path.name in ("hosts", "inventory"):
        return True
    return not path.suffix and bool(re.search(INI, _begin(path)))


def _begin(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(1 << 14)
    except OSError:
        return b""
