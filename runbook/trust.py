"""Host keys: shown to a person, and pinned when that person says so."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from converge.errors import REFUSED, Trouble
from converge.ssh.known import HostKey, Known
from converge.ssh.link import Target, host_key, known_keys, known_name
from converge.ui.cli import confirm

NEW_KEY = "on its console: rm /etc/ssh/ssh_host_*; ssh-keygen -A; systemctl restart ssh"


def trust(target: Target, yes: bool) -> None:
    """Show the key that a host presents beside what is known of it and, if that is agreed to, pin it in inventory/known_hosts.

    A key that has changed is never pinned by a flag: a person must say so.
    """
    kind, text, _ = host_key(target)
    shown, known = HostKey(kind, text), known_keys(target)
    print(f"{target.name} at {target.address} shows\n  {shown}")
    if known.accepts(shown):
        print("which is known: nothing to do")
        return
    _must_be_trustworthy(target, shown, known, yes)
    file = "ed25519" if "ed25519" in kind else "ecdsa" if "ecdsa" in kind else "rsa"
    print(f"Compare it with what its own console says: ssh-keygen -lf /etc/ssh/ssh_host_{file}_key.pub", flush=True)
    confirm("Trust it? [y/N] ", yes)
    _pin(target.known_hosts, known_name(target), f"{kind} {text}")
    print(f"pinned in inventory/{target.known_hosts.name}")
    for place in {key.place.rpartition(":")[0] for key in known.keys} - {str(target.known_hosts)}:
        print(f"the old one still stands in {place}; to remove it: ssh-keygen -R '{known_name(target)}' -f {place}")


def _must_be_trustworthy(target: Target, shown: HostKey, known: Known, yes: bool) -> None:
    if line := known.revoked(shown, None):
        raise Trouble("its host key is revoked", target.name, line.place, "nothing was pinned", NEW_KEY, REFUSED)
    if not known.keys:
        return
    print("but known is")
    for key in known.keys:
        print(f"  {key.key}  ({key.place})")
    print("The key has CHANGED: somebody may stand between. Ask who keeps the machine whether it was installed anew.")
    if yes or not sys.stdin.isatty():
        why, hint = "a person must compare the two", f"inv host.trust {target.name}, on a terminal"
        raise Trouble(
            "a changed key is pinned only by a person who says so",
            target.name,
            why,
            "nothing was pinned",
            hint,
            REFUSED,
        )


def _pin(file: Path, name: str, key: str) -> None:
    """Write the one line that speaks of this name; whole or not at all."""
    lines = file.read_text().splitlines() if file.exists() else []
    kept = [line for line in lines if line.split(" ")[0] != name]
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f".{file.name}.{os.getpid()}")
    new.write_text("\n".join([*kept, f"{name} {key}"]) + "\n")
    new.replace(file)
