"""The hosts files: which hosts and groups there are, and whose settings come before whose."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from converge.document import read_file
from converge.errors import UNTOUCHED, Trouble, Troubles
from converge.layers import Node

KEYS = ("hosts", "children", "vars")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")


@dataclass
class Group:
    name: str
    origin: str
    hosts: list[str] = field(default_factory=list)
    children: list[str] = field(default_factory=list)
    settings: list[Node] = field(default_factory=list)
    depth: int = 0


class Inventory:
    """What `inventory/*.yml` says: hosts with the settings that stand beside them, and groups."""

    def __init__(self, root: Path, troubles: list[Trouble]) -> None:
        self.folder, self.root, self.troubles = root / "inventory", root, troubles
        self.groups: dict[str, Group] = {"all": Group("all", "inventory/hosts.yml")}
        self.hosts: dict[str, list[Node]] = {}
        self._read: dict[Path, Node] = {}
        for path in self._files():
            tree = read_file(path, root, troubles)
            for name, node in tree.value.items():
                self._group(name, node, [])
                if name != "all":
                    self._child("all", name)
        self._deepen("all", 0)
        self._strangers()

    def _files(self) -> list[Path]:
        files = sorted(
            path for path in self.folder.glob("*.y*ml") if path.suffix in (".yml", ".yaml") and path.name[0] != "."
        )
        if not files:
            where = "inventory/hosts.yml"
            self.troubles.append(
                Trouble("there is no inventory", where=where, why="the file is missing", hint=f"git checkout {where}")
            )
        return files

    def _group(self, name: str, node: Node, above: list[str]) -> None:
        group = self.groups.setdefault(name, Group(name, node.origin))
        if not NAME.fullmatch(name):
            self._refuse(node, f"{name!r} cannot be a group's name", "a name has letters, digits, - and _", "rename it")
        if name in above:
            self._refuse(node, f"the group {name} contains itself", " > ".join([*above, name]), "remove one of them")
            return
        for key, part in self._mapping(node, f"the group {name}").items():
            if key not in KEYS:
                near = difflib.get_close_matches(key, KEYS, 1)
                known = "a group has hosts, children and vars"
                self._refuse(
                    part, f"{name}.{key}: unknown key", known, f"{near[0]}:" if near else f"put {key} under {name}.vars"
                )
                continue
            getattr(self, f"_{key}")(group, part, [*above, name])

    def _hosts(self, group: Group, node: Node, above: list[str]) -> None:
        for name, part in self._mapping(node, f"{group.name}.hosts").items():
            if not NAME.fullmatch(name):
                self._refuse(
                    part,
                    f"{name!r} cannot be a host's name",
                    "a name has letters, digits, ., - and _",
                    "write each host by its own name",
                )
                continue
            settings = self.hosts.setdefault(name, [])
            settings.append(Node(self._mapping(part, f"the host {name}"), part.origin))
            if name not in group.hosts:
                group.hosts.append(name)

    def _children(self, group: Group, node: Node, above: list[str]) -> None:
        for name, part in self._mapping(node, f"{group.name}.children").items():
            self._group(name, part, above)
            self._child(group.name, name)

    def _vars(self, group: Group, node: Node, above: list[str]) -> None:
        group.settings.append(Node(self._mapping(node, f"{group.name}.vars"), node.origin))

    def _child(self, parent: str, name: str) -> None:
        if name not in self.groups[parent].children:
            self.groups[parent].children.append(name)

    def _mapping(self, node: Node, what: str) -> dict[str, Node]:
        if node.value is None:
            return {}
        if isinstance(node.value, dict):
            return node.value
        self._refuse(
            node,
            f"{what} is not a mapping",
            "expected names, each with a colon behind it",
            "write `name:` instead of `- name`",
        )
        return {}

    def _refuse(self, node: Node, what: str, why: str, hint: str) -> None:
        self.troubles.append(Trouble(what, where=node.origin, why=why, hint=hint))

    def _deepen(self, name: str, depth: int) -> None:
        """A group's depth is its longest way from `all`; a group that contains itself was refused."""
        group = self.groups[name]
        if depth > len(self.groups):
            return
        group.depth = max(group.depth, depth)
        for child in group.children:
            self._deepen(child, depth + 1)

    def _strangers(self) -> None:
        """A settings file that belongs to no group is a misspelt name, which would silently set nothing."""
        for path in sorted(self.folder.glob("group_vars/[!.]*")):
            if path.suffix in ("", ".yml", ".yaml") and path.stem not in self.groups:
                near = difflib.get_close_matches(path.stem, self.groups, 1, 0.5)
                where = str(path.relative_to(self.root))
                why = f"groups are {', '.join(sorted(self.groups))}"
                rename = (
                    f"mv {where} {path.with_stem(near[0]).relative_to(self.root)}"
                    if near
                    else f"add {path.stem} to inventory/hosts.yml"
                )
                self.troubles.append(Trouble(f"no group is named {path.stem}", where=where, why=why, hint=rename))

    def members(self, name: str) -> list[str]:
        """The hosts of a group and of the groups in it, in the order of the file."""
        if name == "all":
            return list(self.hosts)
        group, found = self.groups[name], {}
        for host in [*group.hosts, *(one for child in group.children for one in self.members(child))]:
            found[host] = True
        return list(found)

    def groups_of(self, host: str) -> list[Group]:
        """The groups that a host is in, the most general first, as Ansible orders them: by depth, then by name."""
        inside = [group for group in self.groups.values() if host in self.members(group.name)]
        return sorted(inside, key=lambda group: (group.depth, group.name))

    def layers(self, host: str) -> Iterator[Node]:
        """A host's settings from the weakest to the strongest, in Ansible's order."""
        groups = self.groups_of(host)
        for group in groups:
            yield from group.settings
        for group in groups:
            yield from self._vars_files("group_vars", group.name)
        yield from self.hosts[host]
        yield from self._vars_files("host_vars", host)

    def _vars_files(self, folder: str, name: str) -> Iterator[Node]:
        base = self.folder / folder
        names = [base / f"{name}.yml", base / f"{name}.yaml", *sorted((base / name).glob("[!.]*.y*ml"))]
        for path in names:
            if path.is_file():
                if path not in self._read:
                    self._read[path] = read_file(path, self.root, self.troubles)
                yield self._read[path]

    def choose(self, names: str) -> list[str]:
        """The hosts that a comma list of hosts and groups names; every name must be known and give a host."""
        wanted = [name.strip() for name in names.split(",")]
        if not any(wanted):
            raise _untouched(
                Trouble(
                    "no host is named",
                    why=f"hosts are {', '.join(self.hosts)}",
                    hint=f"--host {next(iter(self.hosts), 'NAME')}",
                )
            )
        chosen: dict[str, bool] = {}
        troubles: list[Trouble] = []
        for name in filter(None, wanted):
            found = [name] if name in self.hosts else self.members(name) if name in self.groups else []
            if not found:
                troubles.append(self._nobody(name))
            chosen.update(dict.fromkeys(found, True))
        if troubles:
            raise Troubles([*troubles[:-1], _untouched(troubles[-1])])
        return list(chosen)

    def _nobody(self, name: str) -> Trouble:
        if name in self.groups:
            where = self.groups[name].origin
            return Trouble(
                f"the group {name} has no hosts",
                where=where,
                why="nothing stands under its hosts or children",
                hint=f"add a host under {name}.hosts",
            )
        known = [*self.hosts, *(one for one in self.groups if one not in self.hosts)]
        near = difflib.get_close_matches(name, known, 1, 0.5)
        why = f"hosts are {', '.join(self.hosts)}; groups are {', '.join(self.groups)}"
        stray = (
            [path for path in (self.folder / "host_vars").glob(f"{name}*") if path.stem == name]
            if NAME.fullmatch(name)
            else []
        )
        hint = (
            f"add {name} to a group in inventory/hosts.yml, as it has {stray[0].relative_to(self.root)}"
            if stray
            else ""
        )
        return Trouble(
            f"no host or group is named {name}",
            why=why,
            hint=hint or (f"--host {near[0]}" if near else "inv inventory"),
        )


def _untouched(trouble: Trouble) -> Trouble:
    trouble.untouched = trouble.untouched or UNTOUCHED
    return trouble
