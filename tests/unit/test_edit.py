"""Settings files changed by a command: one more row or key, and every other byte unchanged."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import pytest
import yaml

from converge.inventory.edit import with_key, with_row, without_row
from converge.inventory.written import ByHand

ROW = {"name": "jobs", "lifecycle": [{"id": "retention", "expire_days": 30}]}
ROOT = Path(__file__).resolve().parents[2]


def added(before: str, after: str) -> list[str]:
    """The lines that a change adds; it removes none."""
    diff = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    assert not [line for line in diff if line.startswith("- ")], after
    return [line[2:] for line in diff if line.startswith("+ ")]


def test_a_row_goes_behind_the_last_with_comments_where_they_were() -> None:
    before = "# top\nbuckets: # all of them\n  - name: one # the first\n    versioning: true # kept\n    #quota: 1GiB\n\n# next\nusers: []\n"
    after = with_row(before, ["buckets"], ROW)
    assert added(before, after) == ["  - name: jobs", "    lifecycle:", "      - {id: retention, expire_days: 30}"]
    assert after.index("#quota") < after.index("jobs") < after.index("# next")


@pytest.mark.parametrize("file", sorted((ROOT / "inventory/group_vars").glob("*.yml")), ids=lambda path: path.stem)
def test_each_inventory_of_ours_takes_a_bucket_and_a_user(file: Path) -> None:
    before = file.read_text()
    after = with_row(with_row(before, ["buckets"], ROW), ["users"], {"name": "reporter", "policies": ["readonly"]})
    assert len([line for line in added(before, after) if line.strip()]) <= 7
    now, was = yaml.safe_load(after), yaml.safe_load(before)
    assert now["buckets"] == [*(was.get("buckets") or []), ROW]
    assert {key: value for key, value in now.items() if key not in ("buckets", "users")} == {
        key: value for key, value in was.items() if key not in ("buckets", "users")
    }


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("buckets: [{name: one}]\n", "buckets: [{name: one}, {name: jobs}]\n"),
        ("buckets: [{name: one},] # c\n", "buckets: [{name: one}, {name: jobs},] # c\n"),
        ("buckets: [\n  {name: one} # c\n]\n", "buckets: [\n  {name: one}, {name: jobs} # c\n]\n"),
        ("buckets: []\n", "buckets: [{name: jobs}]\n"),
        ("buckets:\n", "buckets:\n  - name: jobs\n"),
        ("buckets: # none yet\nusers: []\n", "buckets: # none yet\n  - name: jobs\nusers: []\n"),
        ("buckets: null\nusers: []\n", "buckets:\n  - name: jobs\nusers: []\n"),
        ("buckets: ~", "buckets:\n  - name: jobs\n"),
        ("", "buckets:\n  - name: jobs\n"),
        ("# nothing\n", "# nothing\n\nbuckets:\n  - name: jobs\n"),
        ("lab: true", "lab: true\n\nbuckets:\n  - name: jobs\n"),
        ("lab: true # c\n# end\n", "lab: true # c\n\nbuckets:\n  - name: jobs\n# end\n"),
        ("{lab: true}\n", "{lab: true, buckets: [{name: jobs}]}\n"),
        ("buckets:\n- name: one\n", "buckets:\n- name: one\n- name: jobs\n"),
        ("buckets:\r\n  - name: one\r\nlab: true\r\n", "buckets:\r\n  - name: one\r\n  - name: jobs\r\nlab: true\r\n"),
        ("a: 1\n...\n", "a: 1\n\nbuckets:\n  - name: jobs\n...\n"),
        (
            "buckets:\n  - name: one\n    note: |\n      two\n      lines\n\nlab: true\n",
            "buckets:\n  - name: one\n    note: |\n      two\n      lines\n  - name: jobs\n\nlab: true\n",
        ),
        ("buckets:\n  -\n    name: one", "buckets:\n  -\n    name: one\n  - name: jobs\n"),
        (
            "x: &r [{id: a, expire_days: 1}]\nbuckets:\n  - name: one\n    lifecycle: *r\n",
            "x: &r [{id: a, expire_days: 1}]\nbuckets:\n  - name: one\n    lifecycle: *r\n  - name: jobs\n",
        ),
        ('---\n"buckets":\n    -   name: "one"\n', '---\n"buckets":\n    -   name: "one"\n    - name: jobs\n'),
    ],
)
def test_a_row_is_put_into_any_way_to_write_a_list(before: str, after: str) -> None:
    assert with_row(before, ["buckets"], {"name": "jobs"}) == after


def test_json_stays_json() -> None:
    import json

    for before in ('{"buckets": [{"name": "one"}]}', '{"lab": true}', '{"buckets": []}', '{"buckets": null}', "{}"):
        after = json.loads(with_row(before, ["buckets"], {"name": "jobs"}, as_json=True))
        assert after["buckets"][-1] == {"name": "jobs"}


@pytest.mark.parametrize(
    ("before", "path"),
    [
        ("x: &b\n  - name: one\nbuckets: *b\n", ["buckets"]),
        ("x: &b {buckets: [{name: one}]}\n<<: *b\n", ["buckets"]),
        ("buckets: {name: one}\n", ["buckets"]),
        ("buckets: one\n", ["buckets"]),
        ("- one\n", ["buckets"]),
        ("users: [\n", ["users"]),
    ],
)
def test_what_would_reach_more_than_it_should_is_left_to_a_person(before: str, path: list[Any]) -> None:
    with pytest.raises(ByHand):
        with_row(before, path, {"name": "jobs"})


def test_a_key_of_a_row_is_changed_in_its_place() -> None:
    before = "users:\n  - name: ann # who\n    policies: [a] # what\n  - {name: bob, policies: [b]}\n# end\n"
    assert with_row(before, ["users", 0, "policies"], "c") == before.replace("[a]", "[a, c]")
    assert with_row(before, ["users", 1, "policies"], "c") == before.replace("[b]", "[b, c]")
    key = {"access_key": "ann-1", "secret_key": {"file": "inventory/secrets/%h/ann-1"}, "expires": "2027-01-31"}
    after = with_row(before, ["users", 0, "service_accounts"], key)
    assert yaml.safe_load(after)["users"][0]["service_accounts"][0]["access_key"] == "ann-1"
    assert after.splitlines()[3:6] == [
        "    service_accounts:",
        "      - access_key: ann-1",
        "        secret_key: {file: inventory/secrets/%h/ann-1}",
    ]
    after = with_row(before, ["users", 1, "service_accounts"], key)
    assert yaml.safe_load(after)["users"][1]["service_accounts"][0]["expires"] == "2027-01-31"
    assert with_key("a:\n  - b: 1 # c\n", ["a", 0, "b"], "2") == 'a:\n  - b: "2" # c\n'
    assert with_key("a:\n  - b: 1 # c\n", ["a", 0, "d"], "x") == "a:\n  - b: 1 # c\n    d: x\n"
    assert with_key("a:\n  - {b: 1}\n", ["a", 0, "d"], "x") == "a:\n  - {b: 1, d: x}\n"


def test_a_row_is_taken_out_alone() -> None:
    assert without_row("p: [a, b]\n", ["p", 0]) == "p: [b]\n"
    assert without_row("u:\n  p:\n    - a # one\n    - b # two\n", ["u", "p", 0]) == "u:\n  p:\n    - b # two\n"
    assert without_row("u:\n  p: # all\n    - a\n  q: 1\n", ["u", "p", 0]) == "u:\n  p: [] # all\n  q: 1\n"


def test_hostile_words_come_back_as_they_are() -> None:
    for word in ("yes", "null", "1e3", "a: b", "#x", "*x", "&x", "ü", '"', "a\nb", "- x", "{x}", "%h/x", "2027-01-31"):
        after = with_row("l:\n  - one\n", ["l"], {"w": word})
        assert str(yaml.safe_load(after)["l"][1]["w"]) == word and isinstance(yaml.safe_load(after)["l"][1]["w"], str)
