"""YAML's own nodes as settings that know their lines; what cannot be a setting is refused in plain words."""

from __future__ import annotations

import re
from typing import Any

import yaml

from converge.errors import Trouble
from converge.inventory.layers import Node

SCALARS = yaml.constructor.SafeConstructor()
TAG = "tag:yaml.org,2002:"
MERGE = f"{TAG}merge"
UNSAFE = "!unsafe"
"""Ansible's mark of a text in which braces are no template."""
DEEPEST = 40
MOST = 50_000
"""Most values that one file may expand to. A few hundred bytes of aliases of aliases would expand to billions."""
LONGEST_KEY = 200
OWN_NAME = re.compile(r"\{\{\s*inventory_hostname\s*\}\}")
"""The one template that is filled in, in ansible_host alone: with a range of hosts it says where each of them is."""


class Reader:
    """Turns YAML's own nodes into ours."""

    def __init__(self, name: str, troubles: list[Trouble], lines: bool) -> None:
        self.name, self.troubles, self.lines = name, troubles, lines
        self.count = 0

    def where(self, node: Any) -> str:
        return f"{self.name}:{node.start_mark.line + 1}" if self.lines else self.name

    def refuse(self, node: Any, what: str, why: str, hint: str) -> None:
        self.troubles.append(Trouble(what, where=self.where(node), why=why, hint=hint))

    def node(self, node: Any, depth: int, key: Any = None) -> Node:
        origin = self.where(key or node)
        if self.too_many(node):
            return Node(None, origin)
        if depth > DEEPEST:
            self.refuse(
                node, "too deep", f"more than {DEEPEST} levels, or an alias that contains itself", "write it out"
            )
            return Node(None, origin)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{TAG}map":
            return Node(self.mapping(node, depth), origin)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{TAG}seq":
            return Node([self.node(item, depth + 1) for item in node.value], origin)
        if isinstance(node, yaml.ScalarNode) and node.tag.removeprefix(TAG) in KINDS:
            return self.scalar(node, origin, key)
        if isinstance(node, yaml.ScalarNode) and node.tag == UNSAFE:
            return Node(node.value, origin)
        if node.tag == "!vault":
            self.refuse(
                node,
                f"{node.tag} is Ansible's",
                "secrets are references here",
                "{command: ansible-vault view FILE}, {file: PATH} or {env: NAME}",
            )
        else:
            self.refuse(
                node,
                f"the tag {node.tag.replace(TAG, '!!')} is not read",
                "settings are texts, numbers, true, false, lists and mappings",
                "remove it",
            )
        return Node(None, origin)

    def too_many(self, node: Any) -> bool:
        """Count a value; beyond the limit nothing more is read, which is reported once."""
        self.count += 1
        if self.count == MOST:
            why = f"aliases included it comes to more than {MOST} values"
            self.refuse(node, "too much for one file", why, "write less of it, or without aliases of aliases")
        return self.count >= MOST

    def mapping(self, node: Any, depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        first: dict[str, Any] = {}
        for key, value in node.value:
            if key.tag == MERGE:
                entries = {**self.merged(value, depth + 1), **entries}
                continue
            if len(key.value) > LONGEST_KEY:
                self.refuse(
                    key, f"a key of {len(key.value)} letters", f"the longest has {LONGEST_KEY}", "write it shorter"
                )
                continue
            if not isinstance(key, yaml.ScalarNode) or key.tag not in (f"{TAG}str", f"{TAG}timestamp"):
                self.key_trap(key)
                continue
            if key.value in first:
                numbers = f"lines {first[key.value].start_mark.line + 1} and {key.start_mark.line + 1}"
                self.refuse(
                    key,
                    f"the key {key.value} stands twice",
                    f"{numbers} both have it" if self.lines else "",
                    "keep one",
                )
            first[key.value] = key
            entries[key.value] = self.node(value, depth + 1, key)
        return entries

    def merged(self, value: Any, depth: int) -> dict[str, Node]:
        """What `<<` brings into a mapping: of one mapping, or of several of which the first is the strongest."""
        entries: dict[str, Node] = {}
        for part in reversed(value.value) if isinstance(value, yaml.SequenceNode) else [value]:
            if not isinstance(part, yaml.MappingNode):
                self.refuse(part, "<< takes a mapping, or a list of mappings", "this is none", "write <<: *NAME")
            elif depth > DEEPEST:
                self.refuse(part, "too deep", f"more than {DEEPEST} levels of <<", "write it out")
            elif not self.too_many(part):
                entries |= self.mapping(part, depth)
        return entries

    def key_trap(self, key: Any) -> None:
        if isinstance(key, yaml.ScalarNode):
            self.refuse(
                key,
                f"the key {key.value} is not text",
                f"YAML reads {key.value or 'nothing'} as {_kind(key)}",
                f'quote it: "{key.value}"',
            )
        else:
            self.refuse(
                key,
                "a key must be a text",
                "{ and [ at the start of a value begin a mapping or a list",
                'quote the value: "{...}"',
            )

    def scalar(self, node: Any, origin: str, key: Any) -> Node:
        kind = node.tag.removeprefix(TAG)
        if kind in ("str", "timestamp", "value"):
            own = key is not None and key.value == "ansible_host"
            self.template_trap(node, OWN_NAME.sub("", node.value) if own else node.value)
            return Node(node.value, origin)
        try:
            value = getattr(SCALARS, f"construct_yaml_{kind}")(node)
        except (ValueError, KeyError):
            self.refuse(node, f"not {KINDS[kind]}", f"the tag says {kind}", "remove the tag")
            return Node(None, origin)
        if kind in ("int", "float") and (":" in node.value or re.match(r"[-+]?0[0-9_]", node.value)):
            self.refuse(
                node,
                f"{node.value} is not what it looks like",
                f"YAML reads it as the number {value}",
                f'quote it: "{node.value}"',
            )
        return Node(value, origin, node.value)

    def template_trap(self, node: Any, text: str) -> None:
        if re.search(r"\{%|\{\{-?\s*[A-Za-z_]", text):
            self.refuse(
                node,
                "a template in the inventory",
                "settings are taken as they stand; nothing is filled in",
                f'write the value itself; where the braces belong to it: {UNSAFE} "TEXT", as in Ansible',
            )


KINDS = {
    "str": "a text",
    "timestamp": "a text",
    "value": "a text",
    "int": "a number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
}


def _kind(node: Any) -> str:
    return KINDS.get(node.tag.removeprefix(TAG), "something else")
