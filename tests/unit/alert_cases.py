"""The alerts' test cases: the series with which each must fire, after how many minutes, and series with which it must not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

HALF, HOUR, DAY = 30, 60, 1440
CLUSTER, NODES = '{job="minio-cluster"}', '{job="minio-nodes",server="172.40.0.12:9000",drive="/data"}'
STARTED = "minio_cluster_health_status" + CLUSTER
FACTS = 'node_textfile_mtime_seconds{file="/host/x/stowage_host.prom"}'


@dataclass(frozen=True)
class Case:
    """Series in promtool's notation. The alert fires at `minutes`, and not yet at `quiet`."""

    series: dict[str, str]
    minutes: int
    quiet: int = 0
    well: dict[str, str] | None = None
    """The same series of a healthy system: the alert never fires."""
    step: int = 1
    """Minutes between two values; longer for alerts that take a day."""


def steady(value: float, minutes: int) -> str:
    return f"{value:g}x{minutes}"


def _level(series: str, bad: float, good: float, minutes: int, quiet: int = 0, step: int = 1) -> Case:
    return Case({series: steady(bad, minutes)}, minutes, quiet, {series: steady(good, minutes)}, step)


SET = '{job="minio-cluster",pool="0",set="0"}'
FRESH, DRILL = 'stowage_backup_fresh_seconds{instance="n"}', 'stowage_backup_drill_seconds{instance="n"}'
MADE = 'stowage_backup_last_success_timestamp_seconds{instance="n",component="buckets"}'
DRILLED = 'stowage_backup_last_drill_timestamp_seconds{instance="n"}'
FREE, ALL = (f"minio_cluster_capacity_usable_{what}_bytes{CLUSTER}" for what in ("free", "total"))
BAD, REQUESTS = (f"minio_s3_requests_{what}_total{CLUSTER}" for what in ("5xx_errors", ""))
REQUESTS = REQUESTS.replace("__", "_")
QUEUE, ONLINE = (f'minio_cluster_webhook_{what}{{server="a",name="n"}}' for what in ("queue_length", "online"))
DISK = '{fstype="ext4",mountpoint="/"}'
TWO = '{job="minio-cluster",pool="0",set="0"}'
CASES: dict[str, Case] = {
    "MinIONodeDown": _level(f"minio_cluster_nodes_offline_total{CLUSTER}", 1, 0, 8, 3),
    "MinIODriveDown": _level(f"minio_cluster_drive_offline_total{CLUSTER}", 1, 0, 8, 3),
    "MinIOWritesStopped": _level(STARTED, 0, 1, 4),
    "MinIONoToleranceLeft": Case(
        {
            f"minio_cluster_health_erasure_set_online_drives{TWO}": steady(3, 8),
            f"minio_cluster_health_erasure_set_write_quorum{TWO}": steady(3, 8),
        },
        8,
        3,
        {
            f"minio_cluster_health_erasure_set_online_drives{TWO}": steady(4, 8),
            f"minio_cluster_health_erasure_set_write_quorum{TWO}": steady(3, 8),
        },
    ),
    "MinIOMetricsGone": Case({"up": steady(1, 15)}, 15, 8, {STARTED: steady(1, 15)}),
    "MinIOHighStorageUsage": Case(
        {FREE: steady(1, 15), ALL: steady(10, 15)}, 15, 8, {FREE: steady(2, 15), ALL: steady(10, 15)}
    ),
    "MinIOStorageFillsUp": Case(
        # Of 900 GB, a gigabyte a minute: full in less than a day.
        {FREE: "900e9-30e9x16"},
        8 * HOUR,
        30,
        {FREE: "900e9-30e6x16"},
        HALF,
    ),
    "MinIOHighErrorRate": Case(
        # A counter of errors does not exist before the first error.
        {BAD: "_x3 10+60x17", REQUESTS: "0+600x20"},
        20,
        3,
        {BAD: "_x3 1+6x17", REQUESTS: "0+600x20"},
    ),
    "MinIOBadKeysTried": Case(
        {f"minio_s3_requests_rejected_auth_total{CLUSTER}": "0+120x20"},
        20,
        5,
        {f"minio_s3_requests_rejected_auth_total{CLUSTER}": "0+6x20"},
    ),
    "MinIODriveErrors": Case(
        {f"minio_node_drive_errors_ioerror{NODES}": "0x3 5x3"}, 6, 2, {f"minio_node_drive_errors_ioerror{NODES}": "5x6"}
    ),
    "MinIODriveInodesLow": _level(f"minio_node_drive_free_inodes{NODES}", 9e4, 9e6, 15, 5),
    "MinIOHealingTakesLong": _level(
        f"minio_cluster_health_erasure_set_healing_drives{SET}", 1, 0, 7 * HOUR, 5 * HOUR, HALF
    ),
    "MinIOAuditStuck": Case(
        {QUEUE: steady(9, 15), ONLINE: steady(0, 15)}, 15, 5, {QUEUE: steady(9, 15), ONLINE: steady(1, 15)}
    ),
    "BackupTooOld": Case(
        {FRESH: "93600x54", MADE: "1x54"},
        27 * HOUR,
        25 * HOUR,
        {FRESH: "93600x54", MADE: "0+1800x54"},
        HALF,
    ),
    "BackupNeverMade": Case({FRESH: "93600x70"}, 70, 30, {FRESH: "93600x70", MADE: "1x70"}),
    "BackupFailed": _level('stowage_backup_last_exit_code{instance="n"}', 1, 0, 8, 3),
    "BackupTargetDown": _level('stowage_backup_target_up{target="cloud"}', 0, 1, 8, 3),
    "BackupNeverVerified": Case(
        {DRILL: "604800x50"},
        DAY + HALF,
        DAY - HOUR,
        {DRILL: "604800x50", DRILLED: "1x50"},
        HALF,
    ),
    "BackupCheckFailed": _level('stowage_backup_check_passed{target="own"}', 0, 1, 8, 3),
    "DriveNotMounted": _level('stowage_drive_mounted{drive="drive1",path="/mnt/drive1"}', 0, 1, 5, 1),
    "DriveReadOnly": _level('node_filesystem_readonly{mountpoint="/mnt/drive1"}', 1, 0, 5, 1),
    "DiskFull": Case(
        {f"node_filesystem_avail_bytes{DISK}": steady(5, 8), f"node_filesystem_size_bytes{DISK}": steady(100, 8)},
        8,
        3,
        {f"node_filesystem_avail_bytes{DISK}": steady(20, 8), f"node_filesystem_size_bytes{DISK}": steady(100, 8)},
    ),
    "MemoryLow": Case(
        {"node_memory_MemAvailable_bytes": steady(1, 15), "node_memory_MemTotal_bytes": steady(100, 15)},
        15,
        5,
        {"node_memory_MemAvailable_bytes": steady(30, 15), "node_memory_MemTotal_bytes": steady(100, 15)},
    ),
    "DockerDown": _level("stowage_docker_up", 0, 1, 5, 1),
    "ContainerDown": _level('stowage_container_running{container="minio1"}', 0, 1, 5, 1),
    "ContainerUnhealthy": _level('stowage_container_healthy{container="minio1"}', 0, 1, 8, 3),
    "ContainerRestarts": Case(
        {'stowage_container_restarts_total{container="a"}': "0+1x30"},
        30,
        1,
        {'stowage_container_restarts_total{container="a"}': "7x30"},
    ),
    "ContainerOutOfMemory": _level('stowage_container_oom_killed{container="a"}', 1, 0, 2),
    "UnitsFailed": _level("stowage_units_failed", 1, 0, 15, 5),
    "ClockNotSynchronised": Case(
        {"node_timex_sync_status": steady(0, 20), "node_timex_maxerror_seconds": steady(16, 20)},
        20,
        5,
        {"node_timex_sync_status": steady(0, 20), "node_timex_maxerror_seconds": steady(1, 20)},
    ),
    "ClockOff": _level("node_timex_offset_seconds", -0.5, -0.01, 15, 5),
    "FactsStale": Case({FACTS: "0x30"}, 30, 10, {FACTS: "0+60x30"}),
    "CertificateEnds": Case(
        {
            'stowage_certificate_end_timestamp_seconds{instance="n",port="443",name="a"}': f"{20 * 86400}x70",
            'stowage_certificate_soon_seconds{instance="n"}': f"{21 * 86400}x70",
        },
        70,
        30,
        {
            'stowage_certificate_end_timestamp_seconds{instance="n",port="443",name="a"}': f"{30 * 86400}x70",
            'stowage_certificate_soon_seconds{instance="n"}': f"{21 * 86400}x70",
            # Another alert tells of this one, and of this the facts tell.
            'stowage_certificate_end_timestamp_seconds{instance="n",port="443",name="b"}': "0x70",
            'probe_ssl_earliest_cert_expiry{job="probe-edge",instance="a"}': f"{10 * 86400}x70",
        },
    ),
    "CertificateGone": _level('stowage_certificate_end_timestamp_seconds{port="443",name="a"}', 0, 30 * 86400, 20, 10),
    "ProbeFailed": _level('probe_success{instance="a"}', 0, 1, 6, 1),
    "PostgresDown": _level("pg_up", 0, 1, 5, 1),
    "PostgresConnectionsLow": Case(
        {
            'pg_stat_activity_count{instance="n",state="active"}': steady(60, 15),
            'pg_stat_activity_count{instance="n",state="idle"}': steady(30, 15),
            'pg_settings_max_connections{instance="n"}': steady(100, 15),
        },
        15,
        5,
        {
            'pg_stat_activity_count{instance="n",state="active"}': steady(9, 15),
            'pg_settings_max_connections{instance="n"}': steady(100, 15),
        },
    ),
    "Watchdog": Case({"up": "1x2"}, 1),
    "TargetDown": _level('up{job="node-exporter"}', 0, 1, 6, 1),
    "AlertsNotDelivered": Case(
        {'alertmanager_notifications_failed_total{integration="webhook"}': "0+1x10"},
        10,
        2,
        {'alertmanager_notifications_failed_total{integration="webhook"}': "3x10"},
    ),
    "RulesFail": _level("prometheus_config_last_reload_successful", 0, 1, 8, 3),
    "LogsNotDelivered": _level("vlagent_remotewrite_pending_data_bytes", 5e8, 10, 20, 10),
}


def tests(rules: str) -> list[dict[str, Any]]:
    """The files for `promtool test rules`, one for each step: each case at its time, before it, and on a healthy system."""
    return [
        {
            "rule_files": [rules],
            "evaluation_interval": f"{step}m",
            "tests": [case_test for name, case in CASES.items() if case.step == step for case_test in _of(name, case)],
        }
        for step in sorted({case.step for case in CASES.values()})
    ]


def _of(name: str, case: Case) -> list[dict[str, Any]]:
    expression = f'count(ALERTS{{alertname="{name}",alertstate="firing"}})'

    def asked(minutes: int, *values: int) -> dict[str, Any]:
        samples = [{"labels": "{}", "value": value} for value in values]
        return {"expr": expression, "eval_time": f"{minutes}m", "exp_samples": samples}

    def group(series: dict[str, str], *asks: dict[str, Any]) -> dict[str, Any]:
        rows = [{"series": labels, "values": values} for labels, values in series.items()]
        common = {"interval": f"{case.step}m", "external_labels": {"host": "prod"}}
        return {**common, "input_series": rows, "promql_expr_test": list(asks)}

    fires = group(case.series, asked(case.minutes, 1), *([asked(case.quiet)] if case.quiet else []))
    return [fires] if case.well is None else [fires, group(case.well, asked(case.minutes))]
