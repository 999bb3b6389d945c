"""The trial run of settings: made when they or the image are new."""

from __future__ import annotations

import json

import pytest

from roles.postgres.trial import Trial

IMAGE = {"Id": "sha256:abc", "RepoTags": ["pg:17"], "RootFS": {"Layers": []}, "Config": {}}


def trial(**settings: str) -> Trial:
    return Trial("pg:17", 9000, 1 << 28, "/etc/stowage/postgres/conf", "/etc/stowage", settings)


@pytest.mark.parametrize("inspected", ["", json.dumps(IMAGE) + "\n"])
def test_settings_that_were_not_tried_are_absent_with_and_without_the_image(inspected):
    """The image may arrive during the deploy: the plan must stay the one that was shown and agreed to."""
    assert Trial.read([trial(max_connections="50")], "", inspected) == [None]


def test_a_trial_is_of_these_settings_and_this_image():
    wanted, inspected = trial(max_connections="50"), json.dumps(IMAGE) + "\n"
    tried = f"sha256:abc {wanted._hash}\n"
    assert Trial.read([wanted], tried, inspected) == [{"tried": "yes"}]
    assert Trial.read([trial(max_connections="60")], tried, inspected) == [None]
    assert Trial.read([wanted], tried.replace("abc", "def"), inspected) == [None]
