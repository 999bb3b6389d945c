"""The prepared lab host: the content of its system, and which stocks of images are kept."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from converge.errors import Trouble
from lab import images, stock, systems
from roles.settings.model import Base, DockerSettings


def test_a_prepared_machine_has_the_packages_that_the_roles_install_when_nothing_is_set() -> None:
    recipe = images.RECIPES[f"machine-{systems.PREPARED}"]
    assert {*Base().packages, *DockerSettings().packages} == {*recipe.arguments["PACKAGES"].split()}
    assert recipe.base == "machine"


def test_a_prepared_machine_is_one_of_the_systems_that_a_wrong_name_is_told() -> None:
    assert systems.known(systems.PREPARED) == systems.PREPARED
    with pytest.raises(Trouble, match=systems.PREPARED):
        systems.known("debian-11")


@dataclass
class Stock:
    labels: dict[str, str]
    removed: list[dict[str, bool]] = field(default_factory=list)

    def remove(self, **how: bool) -> None:
        self.removed.append(how)


def test_a_stock_goes_when_one_with_all_of_it_is_made_or_an_image_of_it_is_gone_and_others_stay() -> None:
    same, other, stale = (Stock({stock.HAS: json.dumps(ids)}) for ids in (["a"], ["a", "c"], ["a", "gone"]))
    client: Any = SimpleNamespace(
        images=SimpleNamespace(list=lambda all: [SimpleNamespace(id=image_id) for image_id in "abc"]),
        containers=SimpleNamespace(list=lambda all, filters: [same, other, stale]),
    )
    stock._remove_old(client, {"a", "b"})
    assert [same.removed, other.removed, stale.removed] == [
        [{"force": True, "v": True}],
        [],
        [{"force": True, "v": True}],
    ]
