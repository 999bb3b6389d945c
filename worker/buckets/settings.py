"""The configuration of a bucket: each part is saved and restored as MinIO writes it."""

from __future__ import annotations

from worker.buckets.client import Client, path, refused

PARTS = ("versioning", "object-lock", "lifecycle", "policy", "encryption", "notification", "tagging", "replication")
NONE = {
    *("NoSuchLifecycleConfiguration", "NoSuchBucketPolicy", "ServerSideEncryptionConfigurationNotFoundError"),
    *("NoSuchTagSet", "ReplicationConfigurationNotFoundError", "ObjectLockConfigurationNotFoundError"),
}
"""MinIO's error codes for an absent configuration."""
QUOTA = "quota"


def read(client: Client, bucket: str) -> dict[str, str]:
    """Every part that the bucket has, by its query parameter."""
    parts = {}
    for part in PARTS:
        answer = client.ask("GET", path(bucket), {part: ""}, may_fail=True)
        if answer.status < 300:
            parts[part] = answer.body.decode()
        elif answer.code not in NONE:
            raise refused(f"the {part} of the bucket {bucket} cannot be read", answer)
    answer = client.ask("GET", "/minio/admin/v3/get-bucket-quota", {"bucket": bucket})
    return parts | {QUOTA: answer.body.decode()}


def versioning(configuration: dict[str, str]) -> str:
    """Enabled, Suspended, or empty."""
    return next(
        (state for state in ("Enabled", "Suspended") if f">{state}<" in configuration.get("versioning", "")), ""
    )


def locks(configuration: dict[str, str]) -> bool:
    return ">Enabled<" in configuration.get("object-lock", "")
