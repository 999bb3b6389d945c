"""The commands of MinIO and its buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converge.ui.cli import command
from roles.settings.hosts import hosts, one_host

if TYPE_CHECKING:
    from invoke.context import Context


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

    hand_out(one_host(c, host), file)


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


MINIO = (minio_info, minio_metrics_token, minio_trace)
BUCKETS = (buckets_du,)
