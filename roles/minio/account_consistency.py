"""Checks of MinIO's accounts: their policies exist, and no name is used twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roles.backup.settings import PRUNER, WRITER
from roles.minio.metrics_token import is_of_another
from roles.minio.policy_language import BUILT_IN
from roles.minio.settings import METRICS
from roles.settings.faults import Faults
from roles.settings.field_checks import known
from roles.settings.fields import UNREAD

if TYPE_CHECKING:
    from roles.settings.model import Settings


def inconsistencies(settings: Settings) -> Faults:
    policies = [*(own.name for own in settings.policies), *BUILT_IN]
    taken = _taken(settings)
    if METRICS in taken and "buckets" not in settings.roles:
        yield ("minio", "metrics", "secret"), "the role buckets makes the user, and roles does not name it"
    for at, policy in enumerate(settings.policies):
        if policy.name in (WRITER, PRUNER, METRICS) and policy.name in taken:
            yield ("policies", at, "name"), f"{taken[policy.name]} has this name"
    for at, user in enumerate(settings.users):
        for number, name in enumerate(user.policies):
            if name not in policies:
                yield ("users", at, "policies", number), f"neither policies nor MinIO has {known(name, policies)}"
        if user.name in taken:
            yield ("users", at, "name"), f"{taken[user.name]} has this name"
        for number, key in enumerate(user.service_accounts):
            if owner := {**dict.fromkeys((own.name for own in settings.users), "a user"), **taken}.get(key.access_key):
                yield ("users", at, "service_accounts", number, "access_key"), f"{owner} has this name"
    yield from _tokens(settings)


def _tokens(settings: Settings) -> Faults:
    """Tokens for metrics that services have are of the present secret: with another, charts and alerts end without a word."""
    secret = settings.minio.metrics.secret if settings.minio else None
    if secret is None or secret is UNREAD:
        return
    for name, service in settings.services.items():
        for section in ("secrets", "secret_environment"):
            for variable, value in getattr(service, section).items():
                if value is not UNREAD and is_of_another(value, secret):
                    why = "it is a token of another minio.metrics.secret: inv minio.metrics-token --file FILE writes the present one"
                    yield ("services", name, section, variable), why


def _taken(settings: Settings) -> dict[str, str]:
    """The names that are in use, and by whom."""
    taken: dict[str, str] = {}
    if settings.minio and settings.minio.root_user is not UNREAD:
        taken[settings.minio.root_user.reveal()] = "minio.root_user"
    if settings.minio and settings.minio.metrics.secret:
        taken[METRICS] = "the account that reads metrics"
    if settings.backup and any(target.kind == "stack" for target in settings.backup.targets):
        taken |= dict.fromkeys((WRITER, PRUNER), "an account of the backup role")
    return taken
