"""Two sets of a host and their objects on a target, for tests that damage them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.lab.backup_host import DATABASES, ODD, changed, left, names, newest, sql, texts, tunnel
from tests.lab.conftest import Clone
from worker.keys import Keys
from worker.manifest import Manifest

BUCKET = "backups-postgresql"


@dataclasses.dataclass
class Story:
    """Two sets of the same databases, and the bucket with their objects."""

    there: Clone
    s3: Any
    first: str
    second: str

    def key(self, set: str, name: str) -> str:
        return f"lab/sets/{set}/{name}"

    def get(self, key: str) -> bytes:
        return bytes(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def put(self, key: str, data: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=data)

    @property
    def keys(self) -> Keys:
        return Keys(self.there.secret("backup_identity"))

    @contextmanager
    def instead(self, key: str, data: bytes | None) -> Iterator[None]:
        """Replaces or removes an object for the duration of the block."""
        before = self.get(key)
        self.put(key, data) if data is not None else self.s3.delete_object(Bucket=BUCKET, Key=key)
        try:
            yield
        finally:
            self.put(key, before)

    @contextmanager
    def retold(self, **other: Any) -> Iterator[None]:
        """The first set's manifest with other values, validly signed."""
        key = self.key(self.first, "manifest.json")
        manifest = Manifest.parse(self.get(key), self.keys, self.first, "lab")
        with self.instead(key, dataclasses.replace(manifest, **other).signed(self.keys)):
            yield


@contextmanager
def two_sets(there: Clone) -> Iterator[Story]:
    """Makes two backups of a host; MinIO's port is reached through SSH."""
    import boto3

    there.inv("backup")
    first = newest(there)
    there.inv("backup")
    sql(there, "CREATE TABLE IF NOT EXISTS since_the_set AS SELECT 1 AS one", ODD)
    texts(there, "live", ODD)
    with tunnel(there, "172.30.99.12:9000") as port:
        client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id=there.secret("root_user"),
            aws_secret_access_key=there.secret("root_password"),
            region_name="us-east-1",
        )
        yield Story(there, client, first, newest(there))


@contextmanager
def unharmed(story: Story) -> Iterator[Story]:
    """Checks that the block leaves the live database unchanged, and nothing of a run."""
    yield story
    texts(story.there, "after", ODD)
    assert changed(story.there, "live", "after") == ""
    assert left(story.there) == ""
    assert names(story.there) == {"postgres", "template0", "template1", *DATABASES}
