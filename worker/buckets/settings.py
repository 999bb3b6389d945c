"""The configuration of a bucket, as MinIO tells it: each part is kept as it is, and put back as it is."""

from __future__ import annotations

from worker.buckets.client import Client, path, refused

PARTS = ("versioning", "object-lock", "lifecycle", "policy", "encryption", "notification", "tagging", "replication")
NONE = {
    *("NoSuchLifecycleConfiguration", "NoSuchBucketPolicy", "ServerSideEncryptionConfigurationNotFoundError"),
    *("NoSuchTagSet", "ReplicationConfigurationNotFoundError", "ObjectLockConfigurationNotFoundError"),
}
"""What MinIO answers where a bucket has no such configuration."""
QUOTA = "quota"


def read(client: Client, bucket: str) -> dict[str, str]:
    """Every part that the bucket has, by the word that asks for it."""
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
    """Enabled, Suspended, or nothing."""
    return next(
        (state for state in ("Enabled", "Suspended") if f">{state}<" in configuration.get("versioning", "")), ""
    )


def locks(configuration: dict[str, str]) -> bool:
    return ">Enabled<" in configuration.get("object-lock", "")
