"""The inventory: hosts with validated settings, each value with the place that it came from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

from converge.errors import UNTOUCHED, Trouble, Troubles
from converge.inventory.annotations import Path as Keys
from converge.inventory.annotations import fields
from converge.inventory.connection import Connection, connection
from converge.inventory.groups import Inventory
from converge.inventory.layers import REDACTED, Node, Value, descend, dotted, hidden, lift, merge, plain
from converge.inventory.overrides import override
from converge.inventory.pattern import terms
from converge.inventory.secret import Secret, resolve
from converge.inventory.validation import Settings, private, validate
from converge.record import dataclass

if TYPE_CHECKING:
    from converge.ssh.connection import Connection as SshConnection
    from converge.ssh.link import Target

__all__ = ["Host", "Value", "explain", "load", "names", "own_files"]


@dataclass(frozen=True)
class Host(Generic[Settings]):
    """One machine of the inventory: how it is reached, and what it should be."""

    name: str
    target: Target
    settings: Settings
    groups: tuple[str, ...]
    root: Path
    reached: Connection = field(repr=False)
    tree: Node = field(repr=False)

    @cached_property
    def connection(self) -> SshConnection:
        """A `fabric.Connection` to it, for commands of your own: opened when it is first used, closed with the program."""
        from converge.ssh.link import connection

        return connection(self.target)

    @cached_property
    def origins(self) -> dict[str, Value]:
        """Each value by its dotted key, with the place that it came from; worked out when it is first asked for."""
        settings = {dotted(keys): value for keys, value in _values(self.settings, self.tree, ())}
        return {**self.reached.origins(), **settings}


def load(
    root: Path, names: str, model: type[Settings], sets: Sequence[str] = (), resolve_secrets: bool = True
) -> list[Host[Settings]]:
    """The hosts that `names` chooses (a host, a group, or a comma list), or everything that is wrong with them.

    Nothing is connected to. With `resolve_secrets`, each secret is read from where its reference points.
    """
    troubles: list[Trouble] = []
    inventory = Inventory(root, troubles)
    _stop(troubles)
    chosen = inventory.choose(names)
    trees = {name: _tree(inventory, name, model) for name in chosen}
    _stop(troubles)
    named = terms(names, chosen)
    # A group stands for its hosts that are up: a throwaway host that is down must not block the others.
    trees = {
        name: tree for name, tree in trees.items() if name in named or not _is_down(tree, _wake(model, name, tree))
    } or trees
    trees = {name: _with_sets(tree, sets, troubles, model) for name, tree in trees.items()}
    secrets = Vault(root) if resolve_secrets else None
    hosts = [_host(inventory, name, tree, model, secrets, troubles) for name, tree in trees.items()]
    _stop(troubles)
    return [host for host in hosts if host]


def names(root: Path) -> tuple[list[str], list[str]]:
    """All hosts and all groups, in the order of the files."""
    troubles: list[Trouble] = []
    inventory = Inventory(root, troubles)
    _stop(troubles)
    return list(inventory.hosts), list(inventory.groups)


def _stop(troubles: list[Trouble]) -> None:
    """Raise what has gathered, each trouble once: hosts of one group share their files."""
    if troubles:
        unique = list({str(trouble): trouble for trouble in troubles}.values())
        unique[-1].untouched = UNTOUCHED
        raise Troubles(unique)


def _tree(inventory: Inventory, name: str, model: type) -> Node:
    tree = Node({}, "inventory")
    for layer in inventory.layers(name):
        tree = merge(tree, layer)
    return _over_defaults(lift(default_mappings(model), "default"), tree)


def _over_defaults(defaults: Node, tree: Node) -> Node:
    """The tree above the defaults. A section without a value is as its default: what `--set` adds to it stands beside that."""
    both = dict(defaults.value)
    for key, node in tree.value.items():
        lower = both.get(key)
        if lower is None or not isinstance(lower.value, dict) or not isinstance(node.value, dict | None):
            both[key] = node
        elif node.value is not None:
            both[key] = _over_defaults(lower, node)
    return Node(both, tree.origin)


def _with_sets(tree: Node, sets: Sequence[str], troubles: list[Trouble], model: type) -> Node:
    for setting in sets:
        tree = override(tree, setting, troubles, model)
    return tree


def default_mappings(model: type) -> dict[str, Any]:
    """The defaults that are mappings: what the inventory says is merged into them by key, as into any layer."""
    defaults = {}
    for name, definition in fields(model).items():
        value = definition.default
        if fields(type(value)):
            value = default_mappings(type(value))
        if isinstance(value, dict) and value:
            defaults[name] = value
    return defaults


class Vault:
    """Secrets by reference, each read once a run: a password store may ask a human each time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.known: dict[tuple[str, str], Secret] = {}

    def of(self, host: str) -> Callable[[dict[str, str], str], Secret]:
        """Reads the secrets of one host: in the path of a file `%h` is its name."""
        return lambda reference, key: self(_own(reference, host), key)

    def __call__(self, reference: dict[str, str], key: str) -> Secret:
        ((how, what),) = reference.items()
        if (how, what) not in self.known:
            self.known[how, what] = resolve(reference, key, self.root)
        return self.known[how, what]


def _own(reference: dict[str, str], host: str) -> dict[str, str]:
    return {how: what.replace("%h", host) if how == "file" else what for how, what in reference.items()}


def secret_at(host: Host[Any], *path: str | int) -> Secret:
    """One secret of a host that was loaded without them, as others may be missing."""
    reference = plain(list(descend(host.tree, path))[-1])
    return resolve(_own(reference, host.name), dotted(path), host.root)


def own_files(host: Host[Any]) -> list[str]:
    """The files of secrets, `inventory/secrets/HOST/NAME`, that a host has for itself: their names, in the order of the inventory."""
    folder = f"inventory/secrets/{host.name}/"

    def of(node: Node) -> Iterator[str]:
        children = node.value.values() if isinstance(node.value, dict) else node.value
        if isinstance(node.value, dict) and list(node.value) == ["file"]:
            yield _own(plain(node), host.name)["file"]
        elif isinstance(node.value, (dict, list)):
            for child in children:
                yield from of(child)

    named = (file.removeprefix(folder) for file in of(host.tree) if file.startswith(folder))
    return list(dict.fromkeys(name for name in named if name and "/" not in name))


def _host(
    inventory: Inventory, name: str, tree: Node, model: type[Settings], secrets: Vault | None, troubles: list[Trouble]
) -> Host[Settings] | None:
    before = len(troubles)
    read = secrets.of(name) if secrets else None
    whose = inventory.hosts[name][0].origin
    wake = _wake(model, name, tree)
    reached, down = connection(name, tree, inventory.root, whose, read, troubles, wake), _is_down(tree, wake)
    tree = Node({key: node for key, node in tree.value.items() if not key.startswith("ansible_")}, tree.origin)
    if down:
        return None  # its own file, with the rest of its settings, is missing too
    context = {"ssh_port": (reached and reached.target.port) or 22}
    settings = _validated(model, tree, whose, read, troubles, context)
    if reached is None or settings is None or len(troubles) > before:
        return None
    groups = tuple(group.name for group in inventory.groups_of(name))
    return Host(name, reached.target, settings, groups, inventory.root, reached, tree)


def _wake(model: type[Settings], name: str, tree: Node) -> str:
    """The command that switches a host on and writes its address, where the model of the settings knows one (`wake`)."""
    known = getattr(model, "wake", None)
    return str(known(name, plain(tree))) if known else ""


def _is_down(tree: Node, wake: str) -> bool:
    return bool(wake) and "ansible_host" not in tree.value


def _validated(
    model: type[Settings],
    tree: Node,
    whose: str,
    secrets: Callable[[dict[str, str], str], Secret] | None,
    troubles: list[Trouble],
    context: dict[str, Any],
) -> Settings | None:
    """Validated twice: with references, so that all mistakes are reported at once, then with the secrets in their places."""
    value = plain(tree)
    settings = validate(model, value, tree, whose, context)
    if isinstance(settings, list):
        troubles.extend(settings)
        return None
    places = [keys for keys, leaf in _leaves(settings, ()) if isinstance(leaf, Secret)]
    if secrets is None or not places:
        return settings
    failed = len(troubles)
    for keys in places:
        *above, last = keys
        holder = value
        for step in above:
            holder = holder[step]
        try:
            holder[last] = secrets(holder[last], dotted(keys))
        except Trouble as trouble:
            trouble.where = trouble.where or list(descend(tree, keys))[-1].origin
            troubles.append(trouble)
    if len(troubles) > failed:
        return None
    settings = validate(model, value, tree, whose, context)
    if isinstance(settings, list):
        troubles.extend(settings)
        return None
    return settings


def _leaves(value: Any, keys: Keys) -> Iterator[tuple[Keys, Any]]:
    """The values below a model that hold no others; a list of plain values is one."""
    if fields(type(value)):
        children: list[tuple[str | int, Any]] = [(name, getattr(value, name)) for name in fields(type(value))]
    elif isinstance(value, dict) and value:
        children = list(value.items())
    elif isinstance(value, list) and any(isinstance(item, dict) or fields(type(item)) for item in value):
        children = list(enumerate(value))
    else:
        children = []
        yield keys, value
    for step, child in children:
        yield from _leaves(child, (*keys, step))


def _short(node: Node) -> bool:
    """Whether a text or a list stands where a mapping could: then all that it means is written in that place."""
    return not isinstance(node.value, dict)


def _values(settings: Any, tree: Node, above: Keys) -> Iterator[tuple[Keys, Value]]:
    for keys, value in _leaves(settings, above):
        way = list(descend(tree, keys))
        node = way[-1] if way[-1].value is not None and (len(way) == len(keys) + 1 or _short(way[-1])) else None
        shown = hidden(node) if isinstance(value, Secret) else value
        if isinstance(value, str) and private(keys[-1:]) and not value.startswith(("/", ".")):
            shown = REDACTED
        yield keys, Value(shown, node.origin if node else "default")


def explain(host: Host[Any]) -> list[tuple[str, str, str]]:
    """Each setting of a host: its dotted key, its value as text, and where that came from."""
    return [(key, _shown(setting.value), setting.origin) for key, setting in host.origins.items()]


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
