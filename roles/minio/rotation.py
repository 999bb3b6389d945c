"""A new secret for a user or a key: written, deployed, and the old one checked to be refused.

FILE.previous keeps the old secret until MinIO refuses it. It marks an unfinished rotation, which the same command
finishes, wherever it was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converge.errors import REFUSED, Trouble
from converge.inventory.edit import with_key
from converge.inventory.layers import descend
from converge.inventory.secret import Secret
from converge.record import dataclass
from converge.ssh.link import connect
from converge.ui.cli import confirm
from converge.ui.lines import say
from roles.minio.account_commands import end_of
from roles.minio.api import REGION
from roles.minio.role import api_of
from roles.settings.changing import NOTHING, Change, Plan, plan_of, show, write
from roles.settings.whole_files import new_secret, write_whole

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings

YEAR = "365d"


@dataclass(frozen=True)
class Account:
    """A user or key of the settings: the path of its secret there, and the file that it is in."""

    name: str
    path: tuple[str | int, ...]
    file: Path
    shown: str
    expires: str | None = None

    @property
    def previous(self) -> Path:
        return self.file.with_name(f"{self.file.name}.previous")

    @property
    def begun(self) -> bool:
        """Whether a new secret was written, but the old one not yet checked to be refused."""
        return self.previous.exists() and self.previous.read_text() != self.file.read_text()

    @property
    def is_key(self) -> bool:
        return self.path[-1] == "secret_key"


def rotate(host: Host[Settings], name: str, expires: str, yes: bool, deploy: Callable[[], None]) -> None:
    account = account_of(host, name)
    change, plan = _new_end(host, account, expires)
    if account.begun:
        say(f"{host.name}: the rotation of {name} that was begun goes on; {account.shown} holds the new secret already")
    else:
        say(
            f"{host.name}: {name} gets a new secret in {account.shown}; a deploy follows, and the old one is refused from then on"
        )
    if change and plan:
        show(change, plan)
    if not account.begun or plan:
        confirm("Do that? [y/N] ", yes)
    if not account.begun:
        write_whole(account.previous, account.file.read_text(), 0o600)
        write_whole(account.file, new_secret() + "\n", 0o600)
    if change and plan:
        write(change, plan)
    deploy()
    _old_one_is_refused(host, account)
    account.previous.unlink()
    say(f"{host.name}: {name} has a new secret, in {account.shown}; the old one is refused")
    if "%h" not in _reference(host, account.path):
        say(f"other hosts that have {account.shown} in their settings: inv deploy --role buckets --host NAME")


def account_of(host: Host[Settings], name: str) -> Account:
    for at, user in enumerate(host.settings.users):
        if user.name == name:
            return _account(host, name, ("users", at, "password"))
        for number, key in enumerate(user.service_accounts):
            if key.access_key == name:
                return _account(host, name, ("users", at, "service_accounts", number, "secret_key"), key.expires)
    known = [
        account
        for user in host.settings.users
        for account in (user.name, *(key.access_key for key in user.service_accounts))
    ]
    why = f"accounts of the settings are {', '.join(known) or 'none'}"
    raise Trouble(
        f"the settings have no account {name}", host.name, why, NOTHING, f"inv accounts.list --host {host.name}"
    )


def _account(host: Host[Settings], name: str, path: tuple[str | int, ...], expires: str | None = None) -> Account:
    source = _reference(host, path)
    how, _, what = source.partition(":")
    if how != "file":
        where = list(descend(host.tree, path))[-1].origin
        hint = f"put a new one there yourself, then inv deploy --role buckets --host {host.name}"
        raise Trouble(
            f"the secret of {name} is not in a file", where, f"it comes from {source}", NOTHING, hint, REFUSED
        )
    shown = what.replace("%h", host.name)
    return Account(name, path, host.root / Path(shown).expanduser(), shown, expires)


def _reference(host: Host[Settings], path: tuple[str | int, ...]) -> str:
    node = list(descend(host.tree, path))[-1]
    ((how, what),) = node.value.items()
    return f"{how}:{what.value}"


def _new_end(host: Host[Settings], account: Account, expires: str) -> tuple[Change | None, Plan | None]:
    """The change of the settings that gives a key a later end."""
    if expires and not account.is_key:
        why = "a user has no end, a key has"
        raise Trouble("--expires belongs to a key", host.name, why, NOTHING, f"inv accounts.rotate {account.name}")
    if not expires and not account.expires:
        return None, None
    end: Any = end_of(host, expires or YEAR) or None
    if end == account.expires:
        return None, None
    path = [*account.path[:-1], "expires"]
    change = Change(
        host,
        "users",
        lambda text, of_json: with_key(text, path, end, of_json),
        f"# of the key {account.name}\nexpires: {end or 'null'}",
    )
    return change, plan_of(change)


def _old_one_is_refused(host: Host[Settings], account: Account) -> None:
    link = connect(host.target)
    try:
        old, new = (Secret(file.read_text().strip()) for file in (account.previous, account.file))
        for secret, wanted in ((new, True), (old, False)):
            if api_of(host).read(link, partial(_is_taken, account.name, secret)) != wanted:
                what = f"the {'new' if wanted else 'old'} secret of {account.name} is {'not taken' if wanted else 'still taken'}"
                kept = f"both are kept, the old one in {account.shown}.previous"
                raise Trouble(what, host.name, "", kept, f"inv accounts.rotate {account.name} --host {host.name}")
    finally:
        link.close()


def _is_taken(name: str, secret: Secret, client: Any) -> bool:
    """Whether MinIO accepts the signature of a request, whatever the rights."""
    from minio import Minio
    from minio.error import S3Error

    other = Minio(client._base_url.host, name, secret.reveal(), secure=False, region=REGION, http_client=client._http)
    try:
        other.list_buckets()
    except S3Error as error:
        return error.code == "AccessDenied"
    return True
