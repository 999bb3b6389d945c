"""Buckets in sets: listed, read, packed, stored by content, and restored below the live versions."""

COMPONENT = "buckets"
"""The name of the component in a set."""
ALL, WHO = "*", "*iam"
"""The names for failures that are not of a single bucket: of all, and of users and policies."""


def called(name: str) -> str:
    """A bucket that could not be saved, in words."""
    return {ALL: "any bucket", WHO: "the users and policies of MinIO"}.get(name, f"the bucket {name}")
