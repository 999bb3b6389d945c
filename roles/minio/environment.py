"""Variables of the server: those that the role sets itself, and those that no server reads although manuals name them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

OURS = {
    **dict.fromkeys(
        ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY"),
        "minio.root_user and minio.root_password say this, as references",
    ),
    **dict.fromkeys(
        ("MINIO_ROOT_USER_FILE", "MINIO_ROOT_PASSWORD_FILE", "MINIO_ACCESS_KEY_FILE", "MINIO_SECRET_KEY_FILE"),
        "the role writes these files: minio.root_user and minio.root_password say what is in them",
    ),
    **dict.fromkeys(
        ("MINIO_KMS_SECRET_KEY", "MINIO_KMS_SECRET_KEY_FILE"), "minio.kms_key says it, as a reference to a secret"
    ),
    "MINIO_IDENTITY_OPENID_CLIENT_SECRET": "a secret never stands in the inventory: minio.openid takes a reference",
    "MINIO_PROMETHEUS_AUTH_TYPE": "minio.metrics says it, as auth",
    "MINIO_CONFIG_ENV_FILE": "a second place for settings, which nobody would see: write them here",
    "MINIO_ROOTDRIVE_THRESHOLD_SIZE": "minio.root_drive_threshold says it",
    "MINIO_VOLUMES": "minio.nodes says it",
    "MINIO_ENDPOINTS": "minio.nodes says it",
    "MINIO_ADDRESS": "nginx and the checks need the address as it is",
    "MINIO_CONSOLE_ADDRESS": "nginx and the checks need the address as it is",
    "MINIO_OPTS": "the role writes the command line",
    "MINIO_CI_CD": "with it MinIO takes the root disk for a drive",
}
"""Variables that the role sets itself, or that disable a safeguard."""
UNREAD = {
    "MINIO_DEFAULT_BUCKETS": "only Bitnami's image reads it: buckets says which there are",
    "MINIO_DATA_DIR": "minio.nodes says which drives hold the data",
    "MINIO_CONFIG_DIR": "the configuration lies on the drives, in .minio.sys",
    "MINIO_CERTS_DIR": "it is a flag of the command line; edge.tls says it for clients",
    "MINIO_IDENTITY_TYPE": "MINIO_IDENTITY_OPENID_CONFIG_URL and the others of its kind say it",
    "MINIO_KMS_MASTER_KEY": "it was read years ago: minio.kms_key says it",
}
_CACHE = "caching on drives was taken out of the server years ago"
# The second word of each name in the source of the server's last commit.
_FAMILIES = (
    "MINIO_(API|AUDIT|BATCH|BROWSER|CALLHOME|CERT|COMPRESS|COMPRESSION|CONFIG|CONN|CONSOLE|CRAWLER|CROSSDOMAIN|DELETE|DNS|DOMAIN|"
    "DRIVE|DSYNC|ERASURE|ETCD|FS|HEAL|HOTFIX|IAM|IDENTITY|IDLE|ILM|INTERFACE|KMS|LAMBDA|LISTENERS|LOG|LOGGER|MAX|MEMLIMIT|NOTIFY|"
    "NTP|OPERATOR|PCF|POLICY|PROMETHEUS|PUBLIC|READ|RECV|REGION|RELEASE|ROOTDISK|SCANNER|SEND|SERVER|SHUTDOWN|SITE|STORAGE|STS|"
    "SUBNET|SYNC|UPDATE|VSPHERE|WORM)(_.*)?"
)


QUEUE = "/queue"
"""Where the server finds the folder of `minio.queue`."""


def faults(variables: Mapping[str, str], queue: str | None = None) -> Iterator[tuple[str, str]]:
    """Each variable that `minio.environment` must not have, with the reason."""
    for name, value in variables.items():
        if name in OURS:
            yield name, OURS[name]
        elif name in UNREAD or name.startswith("MINIO_CACHE_") or not re.fullmatch(_FAMILIES, name):
            why = UNREAD.get(name) or (
                _CACHE if name.startswith("MINIO_CACHE_") else "look for its name in MinIO's manual"
            )
            yield name, f"the server reads no such variable, and would not say so: {why}"
        elif "_QUEUE_DIR" in name and not (queue and f"{value}/".startswith(f"{QUEUE}/")):
            yield name, f"{QUEUE} is the only folder for that, and minio.queue says where it lies on the host"
