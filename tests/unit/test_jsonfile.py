"""Keys of a JSON file: ours are set, all others stay."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as some

from converge.engine.resource import Action, Unknown
from converge.resources.jsonfile import JsonKeys

OURS = {"live-restore": True, "log-opts": {"max-size": "20m"}}
KEY = some.text(some.characters(exclude_categories=["Cs"]), max_size=6)
VALUE = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False, allow_infinity=False) | KEY,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(KEY, inner, max_size=3),
    max_leaves=6,
)


def keys(path: Path, wanted=None, **more) -> JsonKeys:
    return JsonKeys(str(path), OURS if wanted is None else wanted, **more)


def action_of(machine, resource) -> Action:
    return machine.plan(resource).changes[0].action


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some.dictionaries(KEY, VALUE, max_size=4), some.dictionaries(KEY, VALUE, min_size=1, max_size=3))
def test_others_keys_stay_as_they_are(machine, tmp_path, theirs, ours):
    assume(machine.takes([theirs, ours]))
    # A new file for each example, as the host remembers which keys of a file are ours.
    path = Path(tempfile.mkdtemp(dir=tmp_path)) / "daemon.json"
    path.write_text(json.dumps(theirs))
    assert not machine.deploy(keys(path, ours)).failed
    assert json.loads(path.read_text()) == theirs | ours
    assert action_of(machine, keys(path, ours)) is Action.NONE


@pytest.mark.parametrize("before", [None, "", "{}", "\n{ }\n"])
def test_a_file_that_says_nothing_gets_our_keys(machine, tmp_path, before):
    path = tmp_path / "docker" / "daemon.json"
    if before is not None:
        path.parent.mkdir()
        path.write_text(before)
    assert not machine.deploy(keys(path)).failed
    assert json.loads(path.read_text()) == OURS


@pytest.mark.parametrize(
    "text", ["[]", "1", '"text"', "null", "{", "{'single': 1}", '{"a": 1,}', "live-restore: true", "\x00", "\xff"]
)
def test_what_is_not_a_json_object_is_refused_and_left(machine, tmp_path, text):
    path = tmp_path / "daemon.json"
    path.write_bytes(text.encode("latin-1"))
    (change,) = machine.plan(keys(path)).changes
    assert (change.action, change.why.partition(":")[0]) == (Action.REFUSED, "it is not a JSON object")
    machine.deploy(keys(path))
    assert path.read_bytes() == text.encode("latin-1")


@pytest.mark.parametrize("name", ["broken", "type", "", "\0"])
def test_a_key_of_theirs_may_have_any_name(machine, tmp_path, name):
    path = tmp_path / "daemon.json"
    path.write_text(json.dumps({name: 1}))
    machine.deploy(keys(path))
    assert json.loads(path.read_text()) == {name: 1} | OURS


def test_a_file_that_cannot_be_read_is_never_taken_for_absent(machine, tmp_path):
    (tmp_path / "daemon.json").mkdir()
    (reading,) = machine.read(keys(tmp_path / "daemon.json"))
    assert isinstance(reading, Unknown)


def test_the_order_and_spelling_of_a_value_do_not_matter(machine, tmp_path):
    path = tmp_path / "daemon.json"
    path.write_text('{"b":{"y":1,"x":[1,2]},"a":"\\u00e9"}')
    assert action_of(machine, keys(path, {"a": "é", "b": {"x": [1, 2], "y": 1}})) is Action.NONE


def test_a_file_that_its_program_does_not_accept_leaves_the_old_one(machine, tmp_path):
    path = tmp_path / "daemon.json"
    path.write_text('{"theirs": 1}')
    assert machine.deploy(keys(path, check="false {}")).failed
    assert path.read_text() == '{"theirs": 1}'
    assert [file.name for file in tmp_path.iterdir()] == ["daemon.json"]


def test_a_file_that_others_keep_to_themselves_stays_so(machine, tmp_path):
    path = tmp_path / "daemon.json"
    path.write_text('{"proxies": {"http-proxy": "http://user:password@proxy"}}')
    path.chmod(0o600)
    machine.deploy(keys(path))
    assert f"{path.stat().st_mode & 0o777:o}" == "600"


def test_only_our_keys_are_shown(machine, tmp_path):
    path = tmp_path / "daemon.json"
    path.write_text('{"proxies": "http://user:password@proxy", "live-restore": false}')
    assert keys(path).diff(machine.read(keys(path))[0]) == [
        "live-restore: false -> true",
        'log-opts: - -> {"max-size": "20m"}',
    ]


def test_several_files_are_told_apart(machine, tmp_path):
    (tmp_path / "b").write_text(json.dumps(OURS))
    (tmp_path / "c").write_text("rubbish")
    assert [change.action.value for change in machine.plan(*(keys(tmp_path / name) for name in "abc")).changes] == [
        "+",
        " ",
        "!",
    ]


# Keys that we wrote and no longer want.

HOSTS = {"hosts": ["tcp://127.0.0.1:2375"]}


@pytest.fixture
def deployed(machine, tmp_path):
    """A file with a key of a person and, from a deploy, ours and one more."""
    path = tmp_path / "daemon.json"
    path.write_text('{"theirs": 1}')
    assert not machine.deploy(keys(path, OURS | HOSTS)).failed
    return path


def test_a_key_that_we_wrote_and_no_longer_want_is_removed_and_shown(machine, deployed):
    (change,) = machine.plan(keys(deployed)).changes
    assert change.action is Action.UPDATE
    (line,) = change.resource.diff(change.before)
    assert line.startswith('hosts: ["tcp://127.0.0.1:2375"] -> removed')
    assert not machine.deploy(keys(deployed)).failed
    assert json.loads(deployed.read_text()) == {"theirs": 1} | OURS
    assert action_of(machine, keys(deployed)) is Action.NONE


def test_a_key_that_a_person_wrote_stays_also_with_the_value_that_we_want(machine, tmp_path):
    path = tmp_path / "daemon.json"
    path.write_text(json.dumps({"live-restore": True}))
    machine.deploy(keys(path))
    machine.deploy(keys(path, {"log-opts": {"max-size": "20m"}}))
    assert json.loads(path.read_text()) == OURS


def test_a_key_of_ours_that_a_person_has_changed_since_is_theirs(machine, deployed):
    deployed.write_text(json.dumps({"theirs": 1, "hosts": ["unix:///run/docker.sock"]} | OURS))
    assert action_of(machine, keys(deployed)) is Action.NONE


def test_a_key_that_we_removed_and_a_person_wrote_again_is_theirs(machine, deployed):
    machine.deploy(keys(deployed))
    deployed.write_text(json.dumps(OURS | HOSTS))
    assert action_of(machine, keys(deployed)) is Action.NONE


@pytest.mark.parametrize("record", ["", "{", "[]", '"x"', "\x00"])
def test_where_no_record_can_be_read_no_key_is_ours(machine, deployed, record):
    (machine.folder / "stowage" / f"keys{deployed}").write_text(record)
    assert action_of(machine, keys(deployed)) is Action.NONE


def test_of_a_host_from_before_the_record_what_is_wanted_as_it_is_is_ours(machine, tmp_path):
    path = tmp_path / "daemon.json"
    path.write_text(json.dumps(OURS | {"theirs": 1}))
    memory = machine.folder / "stowage" / "applied"
    memory.parent.mkdir()
    memory.write_text(f"docker 0123 json:{path}\n")
    machine.deploy(keys(path, OURS | HOSTS))
    machine.deploy(keys(path, HOSTS))
    assert json.loads(path.read_text()) == HOSTS | {"theirs": 1}


def test_keys_that_are_named_like_our_own_words_stay(machine, tmp_path):
    path = tmp_path / "daemon.json"
    path.write_text(json.dumps({"ours": 1, "no longer wanted": 2}))
    machine.deploy(keys(path))
    assert json.loads(path.read_text()) == {"ours": 1, "no longer wanted": 2} | OURS


def test_a_refused_check_leaves_the_record_as_it_was(machine, deployed):
    record = machine.folder / "stowage" / f"keys{deployed}"
    assert machine.deploy(keys(deployed, {"bad": 1}, check="false {}")).failed
    assert json.loads(deployed.read_text()) == {"theirs": 1} | OURS | HOSTS
    assert json.loads(record.read_text()).keys() >= {*OURS, *HOSTS}
    assert not machine.deploy(keys(deployed)).failed
    assert json.loads(deployed.read_text()) == {"theirs": 1} | OURS
