"""PostgreSQL on a real host: made, found changed, mended, guarded. The tests are one story, in their order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from tests.lab.conftest import CLONE, Clone, fresh

ROLES = ["base", "drives", "docker", "images", "postgres", "stack", "databases"]
SEED = ("hstore", "pgrouting", "postgis", "postgis_raster", "postgis_topology")


@pytest.fixture(scope="module")
def there() -> Iterator[Clone]:
    """A host of its own that has the lab's database server, and nothing else of the lab's systems."""
    clone = fresh(CLONE.with_name("test-postgres"))
    inventory = clone.root / "inventory"
    said = yaml.safe_load((inventory / "group_vars/lab.yml").read_text())
    kept = {key: said[key] for key in ("lab", "base", "postgres", "database_users", "databases")}
    kept |= {"roles": ROLES, "images": {"postgres": said["images"]["postgres"]}}
    (inventory / "group_vars/lab.yml").write_text(yaml.safe_dump(kept))
    (inventory / "hosts.yml").write_text("all: {children: {lab: {hosts: {lab: }}}}\n")
    for other in ("group_vars/weatherlearn.yml", "host_vars/prod.yml"):
        (inventory / other).unlink()
    yield clone
    clone.inv("lab.down", code=None)
