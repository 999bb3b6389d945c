"""The hosts files: which hosts and groups there are, and which settings win over which."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import Path

from converge.errors import Trouble, folded
from converge.inventory import pattern
from converge.inventory.document import read_file
from converge.inventory.family import Group, deepen, inner_first, members
from converge.inventory.layers import Node
from converge.inventory.ranges import Misnamed, expanded, is_address, without_port
from converge.inventory.sources import Sources

KEYS = ("hosts", "children", "vars")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,252}")
ALWAYS = ("all", "ungrouped")
PRIORITY = "ansible_group_priority"


class Inventory:
    """What `inventory/*.yml` says: hosts with the settings that stand beside them, and groups."""

    def __init__(self, root: Path, troubles: list[Trouble]) -> None:
        self.sources, self.root, self.troubles = Sources(root), root, troubles
        self.groups: dict[str, Group] = {"all": Group("all", "inventory/hosts.yml")}
        self.hosts: dict[str, list[Node]] = {}
        self._read: dict[Path, Node] = {}
        for path in self._files():
            tree = read_file(path, root, troubles)
            if "plugin" in tree.value and not isinstance(tree.value["plugin"].value, dict):
                self._refuse(
                    tree.value["plugin"],
                    "the settings of an inventory plugin",
                    "plugins are not run: an inventory is what its files say",
                    f"ansible-inventory -i {self.sources.name(path)} --list --yaml > inventory/hosts.yml",
                )
                continue
            for name, node in tree.value.items():
                self._group(name, node)
                if name != "all":
                    self._child("all", name)
        self._ungrouped()
        self._arrange()
        self._namesakes()
        troubles.extend(self.sources.not_read(self.groups, self.hosts))

    def _files(self) -> list[Path]:
        files = self.sources.hosts_files()
        if not files:
            where = "inventory/hosts.yml"
            self.troubles.append(
                Trouble("there is no inventory", where=where, why="the file is missing", hint=f"git checkout {where}")
            )
        return files

    def _group(self, name: str, node: Node) -> None:
        group = self.groups.setdefault(name, Group(name, node.origin))
        if not NAME.fullmatch(name):
            self._refuse(node, f"{name!r} cannot be a group's name", "a name has letters, digits, - and _", "rename it")
        for key, part in self._mapping(node, f"the group {name}").items():
            if key not in KEYS:
                near = difflib.get_close_matches(key, KEYS, 1)
                known = "a group has hosts, children and vars"
                place = "vars" if isinstance(part.value, (str, int, float, list)) else "hosts"
                self._refuse(
                    part,
                    f"{name}.{key}: unknown key",
                    known,
                    f"{near[0]}:" if near else f"put {key} under {name}.{place}",
                )
                continue
            getattr(self, f"_{key}")(group, part)

    def _hosts(self, group: Group, node: Node) -> None:
        for written, part in self._mapping(node, f"{group.name}.hosts").items():
            names, port = self._names(written, part)
            own = Node(self._mapping(part, f"the host {written}"), part.origin)
            for name in names:
                settings = self.hosts.setdefault(name, [])
                if port:
                    settings.append(Node({"ansible_port": Node(port, part.origin)}, part.origin))
                settings.append(own)
                if name not in group.hosts:
                    group.hosts.append(name)

    def _names(self, written: str, part: Node) -> tuple[list[str], int | None]:
        """The hosts that a name with ranges and a port stands for."""
        try:
            name, port = (written, None) if is_address(written) else without_port(written)
            names = expanded(name)
        except Misnamed as reason:
            self._refuse(part, f"{written!r} names no hosts", str(reason), "correct the range, or write each host")
            return [], None
        if wrong := next((host for host in names if not HOST.fullmatch(host) and not is_address(host)), None):
            known = "a name has letters, digits, ., - and _, begins with a letter or digit, and has at most 253"
            self._refuse(part, f"{wrong!r} cannot be a host's name", known, "write each host by its own name")
            return [], None
        return names, port

    def _children(self, group: Group, node: Node) -> None:
        for name, part in self._mapping(node, f"{group.name}.children").items():
            self._group(name, part)
            self._child(group.name, name)

    def _vars(self, group: Group, node: Node) -> None:
        variables = dict(self._mapping(node, f"{group.name}.vars"))
        if priority := variables.pop(PRIORITY, None):
            if not re.fullmatch("-?[0-9]{1,6}", str(priority.value)):
                self._refuse(priority, f"{PRIORITY} is {priority.value!r}", "expected a whole number", "write a number")
            else:
                group.priority = int(priority.value)
        group.settings.append(Node(variables, node.origin))

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

    def _arrange(self) -> None:
        circles, order = inner_first(self.groups)
        for way, name in circles:
            above = Node(None, self.groups[name].origin)
            hint = f"take {way[-1]} out of {name}.children"
            self._refuse(above, f"the group {way[-1]} contains itself", " > ".join(way), hint)
        self.members_of = {**members(self.groups, order), "all": list(self.hosts)}
        deepen(self.groups, order)

    def _ungrouped(self) -> None:
        """Ansible's group of the hosts that are in no other."""
        grouped = {host for group in self.groups.values() if group.name not in ALWAYS for host in group.hosts}
        alone = [host for host in self.hosts if host not in grouped]
        if alone or "ungrouped" in self.groups:
            group = self.groups.setdefault("ungrouped", Group("ungrouped", self.groups["all"].origin))
            group.hosts = alone
            self._child("all", "ungrouped")

    def _namesakes(self) -> None:
        """A host may be named like a group that it is in (`lab` of lab); elsewhere nobody could tell which is meant."""
        for name in [host for host in self.hosts if host in self.groups]:
            if name in ALWAYS or name not in self.members(name):
                self._refuse(
                    self.hosts[name][0],
                    f"{name} is a host and a group",
                    f"--host {name} and the files of settings would mean one or the other",
                    f"give the host another name, such as {name}1",
                )

    def members(self, name: str) -> list[str]:
        """The hosts of a group and of the groups in it, in the order of the file."""
        return self.members_of.get(name, [])

    def groups_of(self, host: str) -> list[Group]:
        """The groups that a host is in, the most general first, as Ansible orders them: depth, priority, name."""
        inside = [group for group in self.groups.values() if host in self.members(group.name)]
        return sorted(inside, key=lambda group: (group.depth, group.priority, group.name))

    def layers(self, host: str) -> Iterator[Node]:
        """A host's settings from the weakest to the strongest, in Ansible's order."""
        groups = self.groups_of(host)
        for group in groups:
            yield from group.settings
        for group in groups:
            yield from self._vars_files("group_vars", group.name)
        yield from self.hosts[host]
        yield from self._vars_files("host_vars", host)

    def _vars_files(self, kind: str, name: str) -> Iterator[Node]:
        for path in self.sources.settings_files(kind, name):
            if path not in self._read:
                self._read[path] = node = read_file(path, self.root, self.troubles)
                if PRIORITY in node.value:
                    hint = f"put {PRIORITY} under {name}.vars in inventory/hosts.yml"
                    self._refuse(node.value[PRIORITY], f"{PRIORITY} is not read here", "as in Ansible", hint)
            yield self._read[path]

    def choose(self, names: str) -> list[str]:
        """The hosts that a pattern names: a host, a group, or several with commas; `web*`, `!x` and `&x` as in Ansible."""
        groups = {name: self.members(name) for name in self.groups}
        return pattern.choose(names, pattern.Names(list(self.hosts), groups), self._nobody)

    def _nobody(self, name: str) -> Trouble:
        if name in self.groups:
            where = self.groups[name].origin
            return Trouble(
                f"the group {name} has no hosts",
                where=where,
                why="nothing stands under its hosts or children",
                hint=f"add a host under {name}.hosts",
            )
        known = [*self.hosts, *(group for group in self.groups if group not in self.hosts)]
        near = difflib.get_close_matches(name, known, 1, 0.5)
        hosts, groups = pattern.listed(list(self.hosts)), pattern.listed(list(self.groups))
        return Trouble(
            f"no host or group is named {name}",
            why=folded(f"hosts are {hosts}; groups are {groups}"),
            hint=f"--host {near[0]}" if near else "inv inventory --host all",
        )
