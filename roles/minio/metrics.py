"""The metrics of MinIO: a user that may only read them, and its token."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from converge.engine.resource import Chain, in_order
from converge.errors import UNTOUCHED, Trouble
from converge.inventory.hosts import secret_at
from converge.ui.lines import say
from roles.minio.account_kinds import User
from roles.minio.metrics_token import token
from roles.minio.policy_kinds import Policy
from roles.minio.role import settings_of
from roles.minio.settings import METRICS
from roles.minio.settings import Policy as PolicySettings
from roles.minio.settings import User as UserSettings
from roles.settings.fields import UNREAD

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.minio.api import Api
    from roles.settings.model import Settings


def reader(host: Host[Settings], api: Api) -> Iterator[Chain]:
    """The user with its policy, if the settings have its secret."""
    secret = settings_of(host).metrics.secret
    if secret is None:
        return
    statements = [{"Effect": "Allow", "Action": ["admin:Prometheus"], "Resource": ["arn:aws:s3:::*"]}]
    yield in_order(
        Policy(api, PolicySettings(name=METRICS, statements=statements)),
        User(api, UserSettings(name=METRICS, password=secret, policies=[METRICS])),
    )


def hand_out(host: Host[Settings], file: str) -> None:
    """Print the token, or write it into a file that only its owner can read."""
    metrics = settings_of(host).metrics
    if metrics.secret is None:
        raise Trouble(
            "there is no token",
            host.name,
            "with minio.metrics.auth: public nobody is asked for one"
            if metrics.auth == "public"
            else "minio.metrics.secret gives the user stowage-metrics its secret key, and is not set",
            UNTOUCHED,
            f"set it, then: inv buckets --host {host.name}",
        )
    # Alone: the token itself may be a secret of the settings that is missing.
    secret = secret_at(host, "minio", "metrics", "secret") if metrics.secret is UNREAD else metrics.secret
    text = token(secret).reveal()
    if not file:
        print(text)
        return
    path, fresh = Path(file).expanduser(), Path(f"{file}.new").expanduser()
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as target:
        os.fchmod(target.fileno(), 0o600)
        target.write(text + "\n")
    fresh.replace(path)
    say(f"{host.name}: {path} holds the token")
