"""The inventory: which hosts there are, and their settings from groups, hosts and flags, validated before any connection."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converge.errors import Trouble, Troubles
from converge.layers import UNTOUCHED, Layer, Path_, dotted, from_flag, read
from converge.secret import Secret, resolve

if TYPE_CHECKING:
    from converge.ssh import Target

CONNECTION = {
    "ansible_host": str,
    "ansible_port": int,
    "ansible_user": str,
    "ansible_ssh_private_key_file": str,
    "ansible_become": bool,
    "ansible_become_password": dict,
}
"""Ansible's names for how a host is reached; the password is a reference, as every secret is."""


@dataclass(frozen=True)
class Host:
    """One machine of the inventory: how it is reached, and its validated settings."""

    name: str
    target: Target
    settings: Any
    groups: tuple[str, ...]
    layer: Layer = field(repr=False)
    root: Path = field(repr=False)


@dataclass
class _Tree:
    """What hosts.yml says: each host's groups from the outermost inwards, and what is said in place."""

    groups: dict[str, list[str]] = field(default_factory=dict)
    hosts: dict[str, list[str]] = field(default_factory=dict)
    inline: dict[str, Layer] = field(default_factory=dict)


def load(root: Path, names: str, model: Any, sets: Sequence[str] = (), secrets: bool = True) -> list[Host]:
    """The hosts that `names` means: a host, a group, or several with commas. All errors are told at once.

    With `secrets=False` references stay unresolved, for showing the inventory.
    """
    tree = _tree(root)
    chosen = list(dict.fromkeys(host for name in names.split(",") for host in _named(name.strip(), tree)))
    found, troubles = [], []
    for name in chosen:
        try:
            found.append(_host(root, name, tree, model, sets, secrets))
        except Troubles as several:
            troubles.extend(several.troubles)
        except Trouble as one:
            troubles.append(one)
    if troubles:
        raise Troubles([one for number, one in enumerate(troubles) if str(one) not in {str(two) for two in troubles[:number]}])
    return found


def names(root: Path) -> tuple[list[str], list[str]]:
    """All hosts and all groups."""
    tree = _tree(root)
    return sorted(tree.hosts), sorted(tree.groups)


def _tree(root: Path) -> _Tree:
    layer = read(root / "inventory" / "hosts.yml", root)
    tree = _Tree()
    for group, body in layer.values.items():
        _walk(group, body, [], (group,), tree, layer)
    return tree


def _walk(group: str, body: Any, outer: list[str], at: Path_, tree: _Tree, layer: Layer) -> None:
    known = {"hosts", "children", "vars"}
    if body is not None and (not isinstance(body, dict) or set(body) - known):
        odd = sorted(set(body) - known)[0] if isinstance(body, dict) else repr(body)
        raise Trouble(f"the group {group} has {odd}", layer.origins.get(at, "inventory/hosts.yml"), "a group has hosts, children and vars", UNTOUCHED, hint="see inventory/hosts.yml of the repository")
    body = body or {}
    line = [*outer, group]
    tree.groups.setdefault(group, [])
    _say(tree, group, body.get("vars"), (*at, "vars"), layer)
    for host, inline in (body.get("hosts") or {}).items():
        known_line = tree.hosts.setdefault(host, [])
        known_line.extend(one for one in line if one not in known_line)
        for one in line:
            if host not in tree.groups[one]:
                tree.groups[one].append(host)
        _say(tree, host, inline, (*at, "hosts", host), layer)
    for child, below in (body.get("children") or {}).items():
        tree.groups.setdefault(child, [])
        _walk(child, below, line, (*at, "children", child), tree, layer)


def _say(tree: _Tree, name: str, values: Any, at: Path_, layer: Layer) -> None:
    if values:
        origins = {path[len(at) :]: origin for path, origin in layer.origins.items() if path[: len(at)] == at and path != at}
        tree.inline[name] = Layer(values, origins).over(tree.inline.get(name, Layer()))


def _named(name: str, tree: _Tree) -> list[str]:
    if name in tree.hosts:
        return [name]
    if tree.groups.get(name):
        return tree.groups[name]
    known = [*tree.hosts, *tree.groups]
    near = difflib.get_close_matches(name, known, 1)
    what = f"the group {name} has no hosts" if name in tree.groups else f"there is no host or group {name!r}" if name else "no host was named"
    hint = f"--host {near[0]}" if near and name not in tree.groups else "inv host.add NAME ADDRESS"
    raise Trouble(what, "inventory/hosts.yml", f"known are {', '.join(sorted(known))}", UNTOUCHED, hint)


def _files(root: Path, kind: str, name: str) -> Iterator[Path]:
    base = root / "inventory" / kind
    for one in (base / f"{name}.yml", base / f"{name}.yaml"):
        if one.is_file():
            yield one
    yield from sorted(one for one in (base / name).glob("*.y*ml"))


def _host(root: Path, name: str, tree: _Tree, model: Any, sets: Sequence[str], secrets: bool) -> Host:
    groups = tree.hosts[name]
    layer = Layer()
    for kind, owner in [*(("group_vars", group) for group in dict.fromkeys(["all", *groups])), ("host_vars", name)]:
        if owner in tree.inline:
            layer = tree.inline[owner].over(layer)
        for file in _files(root, kind, owner):
            layer = read(file, root).over(layer)
    for text in sets:
        layer = from_flag(text, layer).over(layer)
    connection = {key: layer.values[key] for key in layer.values if key.startswith("ansible_")}
    values = {key: value for key, value in layer.values.items() if key not in connection}
    troubles = [*_odd_connection(connection, layer)]
    settings = None
    try:
        settings = validated(model, values, layer, root, secrets)
    except Troubles as several:
        troubles += several.troubles
    if troubles:
        raise Troubles([_named_trouble(one, name) for one in troubles])
    return Host(name, _target(root, name, connection, layer, secrets), settings, tuple(groups), layer, root)


def _named_trouble(trouble: Trouble, name: str) -> Trouble:
    trouble.where = trouble.where or f"host {name}"
    trouble.untouched = trouble.untouched or UNTOUCHED
    return trouble


def _odd_connection(values: dict[str, Any], layer: Layer) -> Iterator[Trouble]:
    for key, value in values.items():
        where = layer.origins.get((key,), "")
        if key not in CONNECTION:
            near = difflib.get_close_matches(key, CONNECTION, 1)
            yield Trouble(f"unknown key {key}", where, f"of Ansible's connection keys these are understood: {', '.join(CONNECTION)}", hint=f"{near[0] if near else 'remove it'}")
        elif key == "ansible_become_password" and not isinstance(value, dict):
            yield Trouble(f"{key} must be a reference", where, "a password does not stand in the inventory", hint="ansible_become_password: {env: NAME}, {file: PATH} or {command: TEXT}")
        elif not isinstance(value, CONNECTION[key]) or isinstance(value, bool) is not (CONNECTION[key] is bool):
            yield Trouble(f"{key} is {value!r}", where, f"expected {_WORDS[CONNECTION[key]]}", hint=f"{key}: ...")


_WORDS = {str: "text", int: "a number", bool: "true or false", dict: "a reference"}


def _target(root: Path, name: str, values: dict[str, Any], layer: Layer, secrets: bool) -> Target:
    from converge.ssh import Target

    if not values.get("ansible_host") and name.startswith("lab"):
        raise Trouble(f"the lab host {name} is not up", f"host {name}", "inventory/host_vars has no address for it", UNTOUCHED, f"inv lab.up --host {name}")
    key = values.get("ansible_ssh_private_key_file")
    reference = values.get("ansible_become_password")
    password = resolve(reference, "ansible_become_password", root) if reference and secrets else None
    return Target(
        name,
        str(values.get("ansible_host") or name),
        root / "inventory" / "known_hosts",
        port=values.get("ansible_port"),
        user=values.get("ansible_user"),
        key_file=str(root / Path(key).expanduser()) if key else None,
        become=values.get("ansible_become", True),
        become_password=password,
    )


def validated(model: Any, values: dict[str, Any], layer: Layer, root: Path, secrets: bool) -> Any:
    """The settings as the model types them; every fault at once, each with its file and line."""
    from pydantic import ValidationError

    from converge.faults import faults

    try:
        return model.model_validate(values, context={"resolve": lambda reference, key: resolve(reference, key, root)} if secrets else {})
    except ValidationError as error:
        raise Troubles(list(faults(error, model, layer))) from None


def explain(host: Host) -> list[tuple[str, str, str]]:
    """Every setting of a host: its key, its value as it may be shown, and where it was said (`default` where nowhere)."""
    rows = [(key, "[redacted]" if "password" in key else str(value), host.layer.origins.get((key,), "")) for key, value in host.layer.values.items() if key.startswith("ansible_")]
    rows += list(_rows(host.settings, (), host.layer))
    return rows


def _rows(value: Any, at: Path_, layer: Layer) -> Iterator[tuple[str, str, str]]:
    if isinstance(value, Secret):
        said: Any = layer.values
        for part in at:
            said = said[part]
        how, what = next(iter(said.items()))
        yield dotted(at), f"[redacted] ({how}: {what})", _origin(at, layer)
    elif hasattr(type(value), "model_fields"):
        for key in type(value).model_fields:
            yield from _rows(getattr(value, key), (*at, key), layer)
    elif isinstance(value, dict) and value:
        for key, one in value.items():
            yield from _rows(one, (*at, key), layer)
    elif isinstance(value, list) and value and (hasattr(type(value[0]), "model_fields") or isinstance(value[0], dict)):
        for number, one in enumerate(value):
            yield from _rows(one, (*at, number), layer)
    else:
        yield dotted(at), str(value), _origin(at, layer)


def _origin(at: Path_, layer: Layer) -> str:
    return layer.origins.get(at, "default")
