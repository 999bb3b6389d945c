"""Access to a path of ours: owner, mode, access list, and the directories above it."""

from __future__ import annotations

from typing import Protocol

from converge.engine.resource import Refusal, State
from converge.shell import quote_all, sh


class Owned(Protocol):
    """What has an owner and a mode."""

    @property
    def path(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def mode(self) -> str: ...


def access(owned: Owned, kind: str) -> dict[str, str]:
    """The access to a path, and that nobody else can replace it through a directory above."""
    return {
        "type": kind,
        "mode": owned.mode,
        "owner": owned.owner,
        "group": owned.group,
        "access list": "none",
        "written by all": "",
        "strange": "",
    }


def aside(why: str, path: str) -> Refusal:
    """A refusal of what is in the way, with the command that keeps it under another name."""
    return Refusal(why, f"on the host, which keeps it: {sh('mv -T -- {} {}', path, path + '.aside')}; then: inv deploy")


def without_access_list(path: str, before: State | None) -> str:
    """Shell that takes away an access list, which goes beyond owner and mode and hides behind a `+`."""
    if not before or before.get("access list", "none") == "none":
        return ""
    need = "echo 'it has an access list; on the host: apt-get install acl, then: inv deploy'; exit 1"
    return f"command -v setfacl >/dev/null || {{ {need}; }}\n" + sh("setfacl -b -k -- {}\n", path)


def strange(before: State | None) -> Refusal | None:
    """A refusal of what lies in somebody else's directory: its owner may put anything in its place."""
    if not before or not before.get("strange"):
        return None
    owners = before["strange"].replace("|", " and ")
    why = f"{owners} above it belongs to a user who may put anything in its place"
    return Refusal(
        why,
        f"on the host, if that is not meant so: chown root: {quote_all(before['strange'].split('|'))}; then: inv deploy",
    )


def differences(wanted: State, before: State) -> list[str]:
    """What differs of access, for a person."""
    return [
        f"{key.replace('written by all', 'above it, written by all')}: {before.get(key, '-').replace('|', ' ')} -> {value or 'none'}"
        for key, value in wanted.items()
        if before.get(key) != value
    ]
