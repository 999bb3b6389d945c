"""The folders in which MinIO keeps what its web hooks do not take."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from converge.engine.resource import Chain
from converge.resources.file import Directory
from roles.minio import role

VARIABLE = "MINIO_AUDIT_WEBHOOK_QUEUE_DIR_LOGS"


def test_each_node_has_a_queue_of_its_own(storage_host: Any) -> None:
    """Two nodes with one would send the same twice."""
    host = storage_host(minio__queue="/srv/queue", minio__environment={VARIABLE: "/queue/audit"})
    for node in host.settings.minio.nodes:
        volumes = {volume["target"]: volume["source"] for volume in role.service(host, node)["volumes"]}
        assert volumes["/queue"] == f"/srv/queue/{node.name}"
    wanted = [each for item in role.minio.wants(host) for each in (item.links if isinstance(item, Chain) else [item])]
    made = [each.path for each in wanted if isinstance(each, Directory) and each.path.startswith("/srv/queue")]
    assert made == ["/srv/queue", *(f"/srv/queue/minio{number}" for number in (1, 2, 3, 4))]


def test_without_the_setting_there_is_none(storage_host: Any) -> None:
    host = storage_host()
    volumes = role.service(host, host.settings.minio.nodes[0])["volumes"]
    assert "/queue" not in {volume["target"] for volume in volumes}


@pytest.mark.parametrize("given", [{"minio__queue": "/srv/queue", "folder": "/data/queue"}, {"folder": "/queue"}])
def test_a_queue_that_the_server_could_not_write_is_refused(storage_host: Any, given: dict[str, str]) -> None:
    folder = given.pop("folder")
    with pytest.raises(ValidationError, match=r"minio\.queue says where it lies"):
        storage_host(minio__environment={VARIABLE: folder}, **given)
