"""With too few drives MinIO answers with an empty list of buckets: that does not mean that there are none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from converge.errors import Trouble
from roles.minio.gone import Gone
from roles.minio.names import bucket_names

API: Any = None


def cluster(there: list[str], readable: bool) -> Any:
    asked: list[str] = []

    def request(_: str, url: str) -> Any:
        asked.append(url)
        return SimpleNamespace(status=200 if readable else 503)

    return SimpleNamespace(
        list_buckets=lambda: [SimpleNamespace(name=name) for name in there],
        list_objects=lambda *_, **__: [],
        _http=SimpleNamespace(request=request),
        _base_url=SimpleNamespace(host="172.30.99.11:9000"),
        asked=asked,
    )


@pytest.mark.parametrize("there", [[], ["models"]])
def test_a_cluster_that_cannot_be_read_tells_nothing_of_its_buckets(there):
    with pytest.raises(Trouble, match="does not tell"):
        bucket_names(cluster(there, readable=False))
    with pytest.raises(Trouble, match="does not tell"):
        bucket_names(cluster(there, readable=False), ["models", "gone"])
    with pytest.raises(Trouble, match="does not tell"):
        Gone(API, "bucket", "gone")._state(cluster(there, readable=False), API, set())


def test_one_that_can_be_read_is_believed():
    assert bucket_names(cluster(["b", "a"], readable=True)) == ["a", "b"]
    assert bucket_names(cluster(["a"], readable=True), ["gone"]) == ["a"]
    assert Gone(API, "bucket", "gone")._state(cluster(["a"], readable=True), API, set()) is None


def test_whether_it_can_be_read_is_asked_only_when_one_is_missing():
    all_there = cluster(["a", "b"], readable=False)
    assert bucket_names(all_there, ["b"]) == ["a", "b"] and not all_there.asked
