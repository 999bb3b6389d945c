"""The commands of MinIO, its buckets and its accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converge.ui.cli import command
from roles.settings.hosts import hosts, one_host

if TYPE_CHECKING:
    from invoke.context import Context

    from converge.inventory.hosts import Host
    from roles.settings.model import Settings


@command(name="info", at_once=True)
def minio_info(c: Context, host: str = "", json: bool = False) -> None:
    """Show the nodes and drives of the cluster, its capacity, parity, version and uptime."""
    from roles.minio.info import show

    for each in hosts(c, host):
        show(each, json)


@command(
    name="trace",
    help={
        "errors": "only calls that failed",
        "path": "only these objects: a prefix or pattern, such as models/*.pkl",
        "node": "only the calls of this node",
        "slower": "only calls that took at least so many milliseconds",
        "internal": "health checks, metrics and the admin API, too",
    },
)
def minio_trace(
    c: Context,
    host: str = "",
    errors: bool = False,
    path: str = "",
    node: str = "",
    slower: int = 0,
    internal: bool = False,
    json: bool = False,
) -> None:
    """Show the calls that the cluster answers, as they come, until Ctrl-C."""
    from roles.minio.trace import Filter, trace

    trace(one_host(c, host), Filter(errors, slower, node, path, internal), json)


@command(name="metrics-token", at_once=True, help={"file": "write it there (0600) instead of printing it"})
def minio_metrics_token(c: Context, host: str = "", file: str = "") -> None:
    """Print the token with which Prometheus reads the metrics; it is good until minio.metrics.secret changes."""
    from roles.minio.metrics import hand_out

    hand_out(_settings_of(c, host), file)


@command(
    name="du",
    at_once=True,
    help={
        "bucket": "only this one",
        "prefix": "only what begins so; it is listed",
        "exact": "list every version now, which takes its time",
    },
)
def buckets_du(
    c: Context, host: str = "", bucket: str = "", prefix: str = "", exact: bool = False, json: bool = False
) -> None:
    """Show what the buckets hold: objects, versions, delete markers, bytes."""
    from roles.minio.usage import show

    show(one_host(c, host), bucket, prefix, exact, json)


@command(name="list", at_once=True)
def buckets_list(c: Context, host: str = "", json: bool = False) -> None:
    """Show the buckets: versions, retention, quota, size, and whether the settings name them."""
    from roles.minio.bucket_commands import show

    for each in hosts(c, host):
        show(each, json)


@command(
    name="create",
    help={
        "name": "of the bucket",
        "retention-days": "objects are deleted after so many days (default: never)",
        "versioning": "keep what is overwritten or deleted as old versions",
        "quota": "the most that it may hold, such as 500GiB",
    },
)
def buckets_create(
    c: Context,
    name: str,
    host: str = "",
    retention_days: int = 0,
    versioning: bool = False,
    quota: str = "",
    yes: bool = False,
    json: bool = False,
) -> None:
    """Put a bucket into the settings; the next deploy makes it."""
    from roles.minio.bucket_commands import create

    create(_settings_of(c, host), name, retention_days, versioning, quota, yes, json)


@command(name="list", at_once=True)
def accounts_list(c: Context, host: str = "", json: bool = False) -> None:
    """Show users and their keys: policies, when keys end, and whether the settings name them."""
    from roles.minio.account_commands import show

    for each in hosts(c, host):
        show(each, json)


@command(
    name="create",
    help={
        "name": "of the user",
        "policies": "what it may do, with commas",
        "key": "also a key of it, for a program: its access key",
        "expires": "when the key ends: 90d, 2027-12-31 or never (default: 365d)",
    },
)
def accounts_create(
    c: Context,
    name: str,
    host: str = "",
    policies: str = "",
    key: str = "",
    expires: str = "",
    yes: bool = False,
    json: bool = False,
) -> None:
    """Put a user, or a key of one, into the settings, with new secrets; the next deploy makes it."""
    from roles.minio.account_commands import create

    create(_settings_of(c, host), name, _names(policies), key, expires, yes, json)


@command(
    name="assign",
    help={"name": "of the user", "policies": "with commas", "remove": "take them away instead"},
)
def accounts_assign(
    c: Context, name: str, policies: str, host: str = "", remove: bool = False, yes: bool = False, json: bool = False
) -> None:
    """Give a user policies in the settings; the next deploy attaches them."""
    from roles.minio.account_commands import assign

    assign(_settings_of(c, host), name, _names(policies), remove, yes, json)


@command(
    name="rotate",
    help={
        "name": "a user or key",
        "expires": "the new end of a key: 90d, 2027-12-31 or never (default: 365d, if it has one)",
    },
)
def accounts_rotate(c: Context, name: str, host: str = "", expires: str = "", yes: bool = False) -> None:
    """Make a new secret for a user or key, deploy it, and see the old one refused."""
    from roles.deploying import deploy
    from roles.minio.rotation import rotate

    chosen = one_host(c, host)

    def deployed() -> None:
        deploy(c, chosen.name, "buckets", None, check=False, diff=True, full=False, yes=yes, json=False)

    rotate(chosen, name, expires, yes, deployed)


def _settings_of(c: Context, host: str) -> Host[Settings]:
    """A host of which only the settings matter: secrets that are not there yet keep nobody from making one."""
    return one_host(c, host, secrets=False)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


MINIO = (minio_info, minio_metrics_token, minio_trace)
BUCKETS = (buckets_list, buckets_create, buckets_du)
ACCOUNTS = (accounts_list, accounts_create, accounts_assign, accounts_rotate)
