"""Lists the users and keys of a cluster; adds users, keys and policies to the settings."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from converge.errors import REFUSED, Trouble
from converge.inventory.edit import with_row, without_row
from converge.inventory.layers import descend
from converge.record import dataclass
from converge.ssh.link import connect
from converge.ui.lines import say
from roles.backup.settings import PRUNER, WRITER
from roles.minio.account_kinds import NEVER
from roles.minio.accounts import accounts
from roles.minio.bucket_commands import IN_SETTINGS, NOT_DEPLOYED, OF_STOWAGE, UNMANAGED
from roles.minio.key_ends import SOON, is_over, moment
from roles.minio.policy_language import BUILT_IN
from roles.minio.role import api_of
from roles.minio.settings import METRICS
from roles.settings.changing import NOTHING, Change, carry_out, rows

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.settings.model import Settings


@dataclass(frozen=True)
class Row:
    """A user, or a key that acts for one."""

    name: str
    kind: str
    user: str
    policies: list[str]
    enabled: bool
    expires: str
    state: str


def show(host: Host[Settings], as_json: bool) -> None:
    link = connect(host.target)
    try:
        table = api_of(host).read(link, lambda client: _read(host, accounts(client, link)))
    finally:
        link.close()
    if as_json:
        print(json.dumps({"host": host.name, "accounts": [asdict(row) for row in table]}))
        return
    for line in lines(host.name, table, datetime.now(UTC)):
        say(line)


def _read(host: Host[Settings], iam: Any) -> list[Row]:
    users = {user.name: user for user in host.settings.users}
    keys = {key.access_key: (user.name, key) for user in host.settings.users for key in user.service_accounts}
    table = []
    for name in sorted({*iam.users, *users}):
        own = OF_STOWAGE if name in (METRICS, WRITER, PRUNER) else UNMANAGED
        state = (IN_SETTINGS if name in iam.users else NOT_DEPLOYED) if name in users else own
        policies = iam.user_policies.get(name, ()) if name in iam.users else users[name].policies
        on = iam.users.get(name, {}).get("status", "") in ("on", "enabled")
        table.append(Row(name, "user", "", sorted(policies), on, "", state))
    for name in sorted({*iam.keys, *keys}):
        document = iam.keys.get(name)
        if document is None:
            user, key = keys[name]
            over = "over" if is_over(key.expires) else NOT_DEPLOYED
            table.append(Row(name, "key", user, [], False, moment(key.expires) if key.expires else "", over))
            continue
        end = document.get("expiration") or NEVER
        state = IN_SETTINGS if name in keys else UNMANAGED
        expires = "" if end < "1971" else moment(end)
        table.append(Row(name, "key", document.get("parent", ""), [], document.get("status") == "on", expires, state))
    return table


def lines(host: str, table: list[Row], now: datetime) -> Iterator[str]:
    """The screen: each user with its policies, and its keys below it."""
    if not table:
        yield f"{host}: there is no account but the administrator; inv accounts.create NAME --host {host}"
        return
    yield f"{host}:"
    wide = max(len(row.name) for row in table) + 2
    users = {row.name: row for row in table if row.kind == "user"}
    for name in [*users, *dict.fromkeys(row.user for row in table if row.kind == "key" and row.user not in users)]:
        yield f"  {name:{wide}}  {_of_user(users[name]) if name in users else 'no user of MinIO itself; its keys:'}"
        for key in (row for row in table if row.kind == "key" and row.user == name):
            off = "" if key.enabled or not _lives(key) else ", switched off"
            yield f"    {key.name:{wide - 2}}  key, {_end(key, now)}; {key.state}{off}"


def _of_user(user: Row) -> str:
    off = "" if user.enabled or user.state == NOT_DEPLOYED else ", switched off"
    return f"{', '.join(user.policies) or 'no policy'}; {user.state}{off}"


def _lives(key: Row) -> bool:
    return key.state in (IN_SETTINGS, UNMANAGED)


def _end(key: Row, now: datetime) -> str:
    if not key.expires:
        return "never ends"
    end = datetime.fromisoformat(key.expires)
    if end <= now:
        return f"ended {key.expires}"
    remaining = f", in {(end - now).days} days: inv accounts.rotate {key.name}" if end - now < SOON else ""
    return f"ends {key.expires}{remaining}"


def create(
    host: Host[Settings], name: str, policies: Sequence[str], key: str, expires: str, yes: bool, as_json: bool
) -> None:
    """Add a user, or a key of a user, to the settings; secrets are generated here and never shown."""
    _known(host, policies)
    user = next((at for at, account in enumerate(host.settings.users) if account.name == name), None)
    hint = f"inv accounts.list --host {host.name}"
    if user is not None and (policies or not key):
        what = (
            f"inv accounts.assign {name} {','.join(policies)}" if policies else f"inv accounts.create {name} --key KEY"
        )
        where = list(descend(host.tree, ("users", user)))[-1].origin
        raise Trouble(f"there is a user {name} already", where, "", NOTHING, f"{what} --host {host.name}")
    taken = [made.access_key for owner in host.settings.users for made in owner.service_accounts]
    if key and key in [*taken, name, *(owner.name for owner in host.settings.users)]:
        raise Trouble(f"{key} is taken", host.name, "a name stands for one user or key", NOTHING, hint)
    if expires and not key:
        why = "a user has no end, a key has: programs get keys"
        raise Trouble(
            "--expires belongs to --key", host.name, why, NOTHING, f"inv accounts.create {name} --key {name}-1"
        )
    made = {"access_key": key, "secret_key": {"file": _secret("key", key)}} if key else {}
    if key and (end := end_of(host, expires or "365d")):
        made["expires"] = end
    if user is None:
        row: dict[str, Any] = {"name": name, "password": {"file": _secret("user", name)}}
        row |= {"policies": list(policies)} if policies else {}
        row |= {"service_accounts": [made]} if key else {}
        path: list[str | int] = ["users"]
        secrets = [_secret("user", name), *([_secret("key", key)] if key else [])]
    else:
        row, path, secrets = made, ["users", user, "service_accounts"], [_secret("key", key)]
    wanted = rows("users", row) if user is None else f"# of the user {name}\n{rows('service_accounts', row)}"
    change = Change(host, "users", lambda text, of_json: with_row(text, path, row, of_json), wanted, secrets)
    carry_out(change, yes, as_json)


def assign(host: Host[Settings], name: str, policies: Sequence[str], remove: bool, yes: bool, as_json: bool) -> None:
    """Give a user policies, or take them away, in the settings."""
    _known(host, () if remove else policies)
    at = user_at(host, name)
    have = host.settings.users[at].policies
    wrong = [policy for policy in policies if (policy in have) != remove]
    if wrong or not policies:
        what = (
            f"{name} has {'no ' if remove else ''}{wrong[0]}{'' if remove else ' already'}"
            if wrong
            else "no policy is named"
        )
        why = f"it has {', '.join(have) or 'no policy'}"
        raise Trouble(what, host.name, why, NOTHING, f"inv accounts.list --host {host.name}")

    def edit(text: str, of_json: bool) -> str:
        for policy in policies:
            path: list[str | int] = ["users", at, "policies"]
            text = (
                without_row(text, [*path, kept_policies.index(policy)], of_json)
                if remove
                else with_row(text, path, policy, of_json)
            )
            if remove:
                kept_policies.remove(policy)
        return text

    kept_policies = list(have)
    after = [policy for policy in have if policy not in policies] if remove else [*have, *policies]
    carry_out(Change(host, "users", edit, f"# of the user {name}\npolicies: [{', '.join(after)}]"), yes, as_json)


def user_at(host: Host[Settings], name: str) -> int:
    """The index of a user in the settings."""
    users = host.settings.users
    for at, user in enumerate(users):
        if user.name == name:
            return at
        if name in [key.access_key for key in user.service_accounts]:
            why = f"a key has the rights of its user, or fewer by its statements; this one is of {user.name}"
            raise Trouble(f"{name} is a key", host.name, why, NOTHING, f"the same with {user.name}", REFUSED)
    near = difflib.get_close_matches(name, [user.name for user in users], 1)
    why = f"users are {', '.join(user.name for user in users) or 'none'}"
    hint = f"the same with {near[0]}" if near else f"inv accounts.create {name} --policies ... --host {host.name}"
    raise Trouble(f"the settings have no user {name}", host.name, why, NOTHING, hint)


def end_of(host: Host[Settings], expires: str) -> str:
    """`90d`, a day, or never as the setting has it; empty for never."""
    if expires == "never":
        return ""
    if re.fullmatch(r"[1-9]\d{0,4}d", expires):
        return f"{datetime.now(UTC) + timedelta(days=int(expires[:-1])):%Y-%m-%d}"
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d)?Z)?", expires) and not is_over(expires):
            return expires
    except ValueError:
        pass
    why = "expected a number of days such as 90d, a day to come such as 2027-12-31, or never"
    raise Trouble(f"--expires is {expires}", host.name, why, NOTHING, "--expires 365d")


def _known(host: Host[Settings], policies: Sequence[str]) -> None:
    known = [*(policy.name for policy in host.settings.policies), *BUILT_IN]
    for name in policies:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            why = f"policies are {', '.join(known)}"
            hint = f"--policies {near[0]}" if near else "write it under policies in the settings first"
            raise Trouble(f"there is no policy {name}", host.name, why, NOTHING, hint)


def _secret(kind: str, name: str) -> str:
    return f"inventory/secrets/%h/{kind}_{name}"
