"""Deletion on request: every version of the objects under a prefix, with a plan, a question, an audit line, and a second look.

Nothing has to be undone when it is cut: what is deleted is gone, and the same command deletes the rest. The host's audit
names the bucket and a hash of the prefix, for the prefix itself may be what is to be forgotten.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from converge.errors import PENDING, REFUSED, Trouble
from converge.shell import quote
from converge.ssh.link import connect
from converge.ssh.root_shell import RootShell, holder
from converge.ui.cli import confirm, end
from converge.ui.lines import say
from roles.minio.names import bucket_names
from roles.minio.role import api_of
from roles.minio.to_erase import Asked, Selection, erase_all, hidden_by, look
from roles.minio.usage import must_be_there
from runbook.copies import Copies, copies, lines
from worker.size import human

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from converge.ssh.link import Link
    from roles.settings.model import Settings

FEW = 10


def erase(host: Host[Settings], asked: Asked, check: bool, yes: bool, as_json: bool) -> None:
    """Show what is to be erased and what holds copies, ask, delete, look again."""
    _must_be_a_part(host, asked)
    link = connect(host.target)
    try:
        api = api_of(host)
        must_be_there(host, asked.bucket, api.read(link, bucket_names))
        _must_be_listed(host, asked, api.read(link, lambda client: hidden_by(client, asked)))
        selection: Selection = api.read(link, lambda client: look(client, asked))
        held = api.read(link, lambda client: copies(host, link, client, asked, selection.tiers))
        report = {"host": host.name, "bucket": asked.bucket, "prefix": asked.prefix, **asdict(selection)}
        report |= {"copies": asdict(held), "erased": bool(selection.number) and yes and not check}
        if as_json:
            _erase_for_a_machine(host, link, asked, selection, report)
        else:
            _show(host.name, asked, selection, held)
            if selection.number:
                end(PENDING if check else 0)
                confirm(f"Type {asked.bucket} to erase that for good: ", yes, word=asked.bucket)
                gone = _carry_out(host, link, asked, selection)
                except_locked = " but what is locked" if selection.locked else ""
                say(
                    f"{host.name}: erased {_number(gone)}; read back: nothing of it is left in {asked.bucket}{except_locked}"
                )
                say(f"  inv history names the prefix by its SHA-256, {asked.fingerprint}")
    finally:
        link.close()
    _tell_locked(host, asked, selection)


def _erase_for_a_machine(
    host: Host[Settings], link: Link, asked: Asked, selection: Selection, report: dict[str, Any]
) -> None:
    if report["erased"]:
        report |= {"gone": asdict(_carry_out(host, link, asked, selection))}
    print(json.dumps(report))
    if selection.number and not report["erased"]:
        end(PENDING)


def _must_be_a_part(host: Host[Settings], asked: Asked) -> None:
    if not asked.prefix.strip("/"):
        why = "it says which objects: one by its name, or a folder with / at its end"
        hint = f"inv buckets.erase {quote(asked.bucket)} FOLDER/ --host {host.name}"
        raise Trouble("a prefix is needed", host.name, why, "nothing was asked or deleted", hint)


def _must_be_listed(host: Host[Settings], asked: Asked, above: str) -> None:
    if above:
        why = f"{above} is an object, and MinIO does not list what lies beneath one; so nobody can say what there is"
        hint = f"inv buckets.erase {quote(asked.bucket)} {quote(above)} --host {host.name} erases both, or move the object first"
        raise Trouble(f"{asked.prefix} cannot be listed", host.name, why, "nothing was deleted", hint, REFUSED)


def _carry_out(host: Host[Settings], link: Link, asked: Asked, selection: Selection) -> Selection:
    """Erase under the host's lock, with an audit line before and after."""
    shell = RootShell(link, holder(f"inv buckets.erase {asked.bucket}"))
    result, gone = "failed", selection
    try:
        _audit(shell, host, asked, selection, "")
        try:
            gone, remaining, failed = api_of(host).any(link, lambda client: erase_all(client, asked))
            result = "failed" if remaining.number else "done"
        finally:
            _audit(shell, host, asked, gone, result)
    finally:
        shell.close()
    if remaining.number:
        why = failed or "somebody writes there meanwhile"
        hint = f"the same again; or inv buckets.du --bucket {quote(asked.bucket)} --prefix {quote(asked.prefix)} --exact --host {host.name}"
        raise Trouble(f"{remaining.number} versions are there", host.name, why, "all others are erased", hint)
    return cast("Selection", gone)


def _audit(shell: RootShell, host: Host[Settings], asked: Asked, selection: Selection, result: str) -> None:
    from converge.engine.audit import AUDIT

    who = holder("")
    line: dict[str, Any] = {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": "erase"}
    line |= {"who": who["who"], "from": who["from"], **({"result": result} if result else {})}
    line |= {"changes": [f"erased from {asked.bucket}: {_number(selection)}, prefix SHA-256 {asked.fingerprint}"]}
    folder = AUDIT.rpartition("/")[0]
    script = f"mkdir -p -m 0750 {folder}; printf '%s\\n' {quote(json.dumps(line))} >>{AUDIT} && sync {AUDIT}"
    status, output = shell.run(script)
    if status:
        untouched = "the deletion is over" if result else "nothing was deleted"
        raise Trouble(
            "the audit line could not be written", host.name, output, untouched, f"inv status --host {host.name}"
        )


def _number(selection: Selection) -> str:
    return f"{selection.versions} versions and {selection.delete_markers} delete markers of {selection.objects} objects, {human(selection.bytes)}"


def _show(host: str, asked: Asked, selection: Selection, held: Copies) -> None:
    say(f"{host}: {asked.prefix}{' and all that begins so' * asked.begins}, in the bucket {asked.bucket}")
    if selection.number:
        say(f"  - {_number(selection)}")
        if not asked.prefix.endswith("/") or asked.begins:
            say("  - and what lies beneath an object of these, which MinIO lists only once that is gone")
    else:
        say("  nothing to erase")
    if selection.locked:
        say(f"  ! {len(selection.locked)} versions are locked and stay:")
        _few(selection.locked)
    if selection.others:
        say(f"  {len(selection.others)} other objects only begin so, and stay; --begins takes them as well:")
        _few(selection.others)
    if copies_lines := list(lines(held, host)):
        say("  copies that this does not erase:")
        for line in copies_lines:
            say(f"    {line}")


def _few(names: list[str]) -> None:
    for name in names[:FEW]:
        say(f"      {name if name.isprintable() else ascii(name)}")
    if len(names) > FEW:
        say(f"      and {len(names) - FEW} more: --json")


def _tell_locked(host: Host[Settings], asked: Asked, selection: Selection) -> None:
    if selection.locked:
        why = "\n".join(selection.locked[:FEW])
        hint = "the same again when the locks are over; a legal hold is taken away by who has set it"
        raise Trouble(f"{len(selection.locked)} locked versions were not erased", host.name, why, "", hint, REFUSED)
