"""A settings file that a command changes: the place of a section, the change as a diff, a question, the file written whole.

The change is tried in a copy of the inventory first: what does not load, or does not reach the host, is not written.
"""

from __future__ import annotations

import difflib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converge.errors import PENDING, REFUSED, Trouble, Troubles
from converge.inventory.groups import Inventory
from converge.inventory.layers import Node, merge, plain
from converge.inventory.written import ByHand
from converge.record import dataclass
from converge.ui.cli import confirm, end
from converge.ui.lines import say
from roles.settings.whole_files import made_secret, write_whole

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

NOTHING = "nothing was written"
EXAMPLES = "inventory/group_vars/all.yml"
"""This file holds for all hosts and shows every key, so nothing new is written to it."""
Edit = Callable[[str, bool], str]
"""Makes the new text of a file; the flag says whether it is JSON."""


@dataclass(frozen=True)
class Change:
    """A change of one section (`buckets`, `users`) of a host's settings."""

    host: Host[Settings]
    section: str
    edit: Edit
    lines: str
    """The lines that a person would insert, for a file that is better edited by hand."""
    secrets: list[str] = field(default_factory=list)
    """The secrets that it needs, as paths in which %h is the host."""

    @property
    def after(self) -> str:
        return f"inv deploy --role buckets --host {self.host.name}"


@dataclass(frozen=True)
class Plan:
    """The result of a change: the file, its text before and after, and all hosts that it affects."""

    file: Path
    name: str
    before: str
    text: str
    hosts: list[str]

    @property
    def diff(self) -> list[str]:
        lines = difflib.unified_diff(self.before.splitlines(), self.text.splitlines(), lineterm="", n=2)
        return list(lines)[2:]


def carry_out(change: Change, yes: bool, as_json: bool) -> None:
    """Show a change, ask, and write it; what to type next stands below it."""
    plan = plan_of(change)
    if as_json:
        answer = {"host": change.host.name, "file": plan.name, "diff": plan.diff, "hosts": plan.hosts, "written": yes}
        made = write(change, plan) if yes else []
        print(json.dumps(answer | {"secrets": made, "next": change.after}))
        end(0 if yes else PENDING)
        return
    show(change, plan)
    confirm("Write that? [y/N] ", yes)
    made = write(change, plan)
    say(f"wrote {plan.name}")
    if made:
        say(f"wrote {', '.join(made)} (0600, ignored by git)")
    say(f"next: {change.after}")


def show(change: Change, plan: Plan) -> None:
    say(f"{change.host.name}: {plan.name}")
    for line in plan.diff:
        print(f"  {line}".rstrip())
    if others := [name for name in plan.hosts if name != change.host.name]:
        say(f"  it is also for {', '.join(others)}, whose settings this file holds as well")


def plan_of(change: Change) -> Plan:
    """The plan of a change, tried in a copy of the inventory."""
    host = change.host
    file = _file(change)
    before = _text(file)
    try:
        text = change.edit(before, file.suffix == ".json")
    except ByHand as reason:
        raise _by_hand(change, file, str(reason)) from None
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder)
        shutil.copytree(
            host.root / "inventory", there / "inventory", ignore=shutil.ignore_patterns("secrets"), symlinks=True
        )
        copy = there / file.relative_to(host.root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if copy.is_symlink():
            copy.unlink()
        copy.write_text(text, encoding="utf-8", newline="")
        hosts = _reached(host.root, there, change.section)
        if host.name not in hosts:
            raise _by_hand(change, file, "another file says it of this host, and comes later")
        _must_load(there, host.name)
        for name in hosts:
            if name != host.name and _loads(host.root, name):
                _must_load(there, name)
    return Plan(file, str(file.relative_to(host.root)), before, text, hosts)


def write(change: Change, plan: Plan) -> list[str]:
    """The secrets that are not there yet, then the file; gives the paths of the secrets that were made."""
    if _text(plan.file) != plan.before:
        again = "the same command again"
        raise Trouble("the file was changed meanwhile", plan.name, "by somebody else", NOTHING, again, REFUSED)
    made = []
    for name in plan.hosts:
        folder = change.host.root / "inventory/secrets" / name
        if folder.is_dir() or name == change.host.name:
            made += [made_secret(change.host.root, path.replace("%h", name)) for path in change.secrets]
    write_whole(plan.file, plan.text)
    return [path for path in made if path]


def _file(change: Change) -> Path:
    """The file in which the section stands or is to stand: beside similar sections, otherwise in the host's own file."""
    host = change.host
    own = host.tree.value.get(change.section)
    if own and (own.value is not None or not _is_example(own)):
        return _settings_file(change, own)
    minio = host.tree.value.get("minio")
    nodes = minio.value.get("nodes") if minio and isinstance(minio.value, dict) else None
    for node in [*(host.tree.value.get(name) for name in ("buckets", "users", "policies")), nodes]:
        if node and node.value is not None and not _is_example(node):
            return _settings_file(change, node)
    files = Inventory(host.root, []).sources.settings_files("host_vars", host.name)
    return files[0] if files else host.root / f"inventory/host_vars/{host.name}.yml"


def _is_example(node: Node) -> bool:
    return node.origin.rpartition(":")[0] == EXAMPLES


def _settings_file(change: Change, node: Node) -> Path:
    name = node.origin.rpartition(":")[0]
    path = change.host.root / name
    if not name or path.parent == change.host.root / "inventory":
        raise _by_hand(change, path, "it stands among the hosts")
    return path


def _text(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", newline="") as opened:
            return opened.read()
    except FileNotFoundError:
        return ""


def _reached(before: Path, after: Path, section: str) -> list[str]:
    """The hosts whose section differs after the change."""
    was, now = Inventory(before, []), Inventory(after, [])

    def section_of(inventory: Inventory, name: str) -> Any:
        tree = Node({}, "")
        for layer in inventory.layers(name):
            tree = merge(tree, layer)
        return plain(tree).get(section)

    return [name for name in now.hosts if section_of(was, name) != section_of(now, name)]


def _must_load(root: Path, name: str) -> None:
    from converge.inventory.hosts import load
    from roles.settings.model import Settings

    try:
        load(root, name, Settings, resolve_secrets=False)
    except Troubles as troubles:
        for trouble in troubles.troubles:
            # The line that it names was never written.
            trouble.untouched, trouble.code, trouble.hint = "", REFUSED, "the same command with another value"
        troubles.troubles[-1].untouched = NOTHING
        raise


def _loads(root: Path, name: str) -> bool:
    try:
        _must_load(root, name)
    except Troubles:
        return False
    return True


def _by_hand(change: Change, file: Path, reason: str) -> Trouble:
    where = str(file.relative_to(change.host.root)) if file.is_relative_to(change.host.root) else change.host.name
    why = f"{reason}; it is better edited by hand. What belongs there:\n{change.lines}"
    missing = [path.replace("%h", change.host.name) for path in change.secrets]
    first = f"put a secret into {' and '.join(missing)} (0600), " if missing else ""
    hint = f"{first}put that in, then {change.after}"
    return Trouble("the settings could not be changed", where, why, NOTHING, hint, REFUSED)


def rows(section: str, row: dict[str, Any]) -> str:
    """A row of a section as it would be written."""
    return "\n".join(_rows(section, row))


def _rows(section: str, row: dict[str, Any]) -> Iterator[str]:
    from converge.inventory.written import Text

    yield f"{section}:"
    yield from Text("").row(row, 2)
