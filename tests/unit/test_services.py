"""Services: accepted settings, their files, and values that reach Docker unchanged."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import ValidationError

from converge.engine import plan as planning
from converge.engine.resource import Action, Chain
from converge.errors import Trouble
from converge.inventory.secret import Secret
from converge.resources.compose import Project
from converge.resources.container_facts import differences
from converge.resources.contents import Contents
from converge.resources.docker import Image
from converge.resources.file import File
from converge.resources.fresh import FreshContainer
from converge.resources.no_folder import NoFolder
from roles import named
from roles.services import configuration
from roles.services.definition import definition
from roles.services.role import gone
from roles.settings.model import Settings
from roles.stack import at_boot
from tests.unit.conftest import inspected


def resources(host, name):
    """The resources of a service, in their order."""
    for want in named(name, host).wants(host):
        yield from want.links if isinstance(want, Chain) else [want]


def one_of(host, name, kind):
    return next(resource for resource in resources(host, name) if isinstance(resource, kind))


def test_a_folder_of_data_that_has_disappeared_is_not_made_anew_empty(storage_host):
    """A disk that is not mounted, a folder that somebody moved: a program would begin anew, with other keys, say."""
    host = storage_host(
        images__cache={"reference": "example.org/cache:1"},
        services={"cache": {"image": "cache", "data": {"/d": "/srv/stowage/cache"}}},
    )
    role, wanted = named("cache", host), planning.wanted(named("cache", host), host)
    folder = next(want.resource for want in wanted if want.resource.address == "directory:/srv/stowage/cache")
    readings = {want.resource.address: None if want.resource == folder else want.resource.desired() for want in wanted}
    for memory, action in (({folder.address: f"cache {folder.remembered()}"}, Action.REFUSED), ({}, Action.CREATE)):
        changes = {change.address: change for change in planning.make("prod", [role], wanted, readings, memory).changes}
        assert changes[folder.address].action is action
    other = next(want.resource for want in wanted if want.resource.address == "directory:/etc/stowage/cache")
    assert other.lost() is None and "to begin with an empty one, on the host: sed -i" in folder.lost().hint


WRONG = {
    "a role": ({"minio": {}}, "minio is a role"),
    "a node": ({"minio1": {}}, "minio1 is a node of minio"),
    "the network": ({"stowage": {}}, "the name of a container"),
    "localhost": ({"localhost": {}}, "each container itself"),
    "a container that checks a file": ({"stowage-check-cache": {}}, "removes by name"),
    "itself": ({"a": {"needs": ["a"]}}, "it cannot wait for itself"),
    "a circle": ({"a": {"needs": ["b"]}, "b": {"needs": ["c"]}, "c": {"needs": ["a"]}}, "a -> b -> c -> a"),
    "nobody": ({"a": {"needs": ["minoi"]}}, "there is no role or service minoi"),
    "a role that the host has not": ({"a": {"needs": ["backup"]}}, "there is no role or service backup"),
    "one that is off": ({"a": {"needs": ["b"]}, "b": {"enabled": False}}, "b is not enabled"),
    "an image without a row": ({"a": {"image": "none"}}, "images has no none"),
    "SSH": ({"a": {"ports": [{"port": 22, "to": 80}]}}, "the host's SSH server listens there"),
    "a port of nginx": ({"a": {"ports": [{"port": 9000, "to": 80}]}}, "edge.routes.0.port has this port"),
    "a port of another": (
        {"a": {"ports": [{"port": 70, "to": 1}]}, "b": {"ports": [{"port": 70, "to": 2, "listen": "::1"}]}},
        "services.a.ports.0.port has this port",
    ),
    "data of another": ({"a": {"data": {"/d": "/srv/x"}}, "b": {"data": {"/d": "/srv/x"}}}, "it is the folder of"),
    "data in another's": ({"a": {"data": {"/d": "/srv/x"}}, "b": {"data": {"/d": "/srv/x/y"}}}, "it meets the folder"),
    "objects of MinIO": ({"a": {"data": {"/d": "/mnt/drive1/drive1"}}}, "MinIO keeps the objects"),
    "the image's own folder": ({"a": {"files": {"/etc/hosts": "files/project.sh"}}}, "what the image has there hidden"),
    "programs of the image": ({"a": {"data": {"/usr": "/srv/x"}}}, "the programs of the image"),
    "a variable twice": (
        {"a": {"environment": {"A": "1"}, "secrets": {"A": Secret("x")}}},
        "environment has it already",
    ),
    "a quote in a variable": ({"a": {"secret_environment": {"A": Secret("it's")}}}, "use secrets"),
    "nobody and root": ({"a": {"nobody": True, "root": True}}, "root: true says otherwise"),
    "nobody with data": ({"a": {"nobody": True, "data": {"/d": "/srv/x"}}}, "nobody owns no data"),
    "reading over its own data": ({"a": {"data": {"/d": "/srv/x"}, "reads": {"/d": "/srv/y"}}}, "data./d lies there"),
    "reading over its programs": ({"a": {"reads": {"/usr": "/srv/y"}}}, "the programs of the image lie there"),
    "showing what is no data of its own": (
        {"a": {"data": {"/d": "/srv/x"}, "shows": {"key": "/e/key"}}},
        "it is in none of the folders of data: /d",
    ),
    "two commands of one name": (
        {"a": {"before": [{"name": "schema", "command": ["a"], "unless": ["b"]}] * 2}},
        "schema stands twice",
    ),
    "a port that is none": ({"a": {"answers": {"http": ":70000/"}}}, "a port is a number from 1 to 65535"),
    "outside of the project": (
        {"a": {"files": {"/x/y": "files/../inventory/hosts.yml"}}},
        "beneath templates/ or files/",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_page_that_contradicts_the_rest_is_refused_with_the_reason(storage_host, case):
    services, why = WRONG[case]
    with pytest.raises(ValidationError) as caught:
        storage_host(services={name: {"image": "nginx", **page} for name, page in services.items()})
    assert why in str(caught.value)


def page(**settings):
    host = {"images": {"any": {"reference": "any:1"}}, "services": {"any": {"image": "any", **settings}}}
    return Settings.model_validate({"roles": ["base", "docker", "images"], **host})


@pytest.fixture
def project(tmp_path):
    """An empty checkout, and a host with one service."""

    def host(**settings) -> SimpleNamespace:
        for folder in ("files", "templates"):
            (tmp_path / folder / "any").mkdir(parents=True, exist_ok=True)
        return SimpleNamespace(name="prod", root=tmp_path, settings=page(**settings))

    return host


def folders(host):
    return configuration.folders(host, "any", host.settings.services["any"], "/root", "any:1")


def files(host):
    return {file.path: file for folder in folders(host) for file in folder.files}


@pytest.mark.parametrize("name", ["back\\slash", "a|b", "line\nbreak", "\x1b[31m", "bad\udcff"])
def test_a_file_that_cannot_be_managed_is_one_error_with_its_name(project, name):
    host = project(files={"/etc/any": "files/any/"})
    (host.root / "files" / "any" / name).write_text("x")
    with pytest.raises(Trouble, match="cannot be read") as caught:
        folders(host)
    assert "files/any/" in caught.value.why
    assert "rename it" in caught.value.why
    assert str(caught.value).replace("\n", "").isprintable()


@pytest.mark.parametrize("name", ["two words", "é", "'quoted'", "$HOME", "-rf"])
def test_any_other_name_is_taken_as_it_is(project, name):
    host = project(files={"/etc/any": "files/any/"})
    (host.root / "files" / "any" / name).write_text("x")
    assert list(files(host)) == [f"/root/etc/any/{name}"]


def test_nothing_comes_from_outside_of_the_project_and_nothing_is_left_out_in_silence(project, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "key").write_text("private")
    host = project(files={"/etc/any": "files/any/"})
    link = host.root / "files" / "any" / "link"
    within = host.root / "files" / "other"
    within.mkdir()
    for target, why in (
        (elsewhere / "key", "no part of the project"),
        (elsewhere, "no part of the project"),
        (elsewhere / "none", "something that is not there"),
        (within, "a link to a folder"),
    ):
        link.symlink_to(target)
        with pytest.raises(Trouble) as caught:
            folders(host)
        assert why in caught.value.why
        link.unlink()
    (within / "file").write_text("ours")
    link.symlink_to(within / "file")
    assert files(host)["/root/etc/any/link"].content == "ours"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("files/none", "there is no such file"),
        ("files/any", "it is a folder: end it with /"),
        ("files/none/", "there is no such folder"),
        ("files/any/", "the folder has no file"),
    ],
)
def test_a_source_that_gives_nothing_is_an_error(project, source, why):
    with pytest.raises(Trouble) as caught:
        folders(project(files={"/etc/any/a": source}))
    assert why in caught.value.why


def test_two_sources_of_one_file_are_an_error(project):
    host = project(files={"/etc/any": "templates/any/"})
    for name in ("a.conf", "a.conf.j2"):
        (host.root / "templates" / "any" / name).write_text("x")
    with pytest.raises(Trouble) as caught:
        folders(host)
    assert "a.conf.j2: templates/any/a.conf is /etc/any/a.conf already" in caught.value.why


def test_files_go_as_they_are_and_templates_are_rendered(project):
    host = project(files={"/etc/one": "files/any/", "/etc/two": "templates/any/"})
    for folder in ("files", "templates"):
        (host.root / folder / "any" / "a.j2").write_text("{{ host.name }}")
    (host.root / "files" / "any" / "data").write_bytes(b"\xff\x00")
    by_path = files(host)
    assert by_path["/root/etc/one/a.j2"].content == "{{ host.name }}"
    assert by_path["/root/etc/two/a"].content == "prod"
    assert by_path["/root/etc/one/data"].content == b"\xff\x00"


def test_a_script_that_may_be_run_here_may_be_run_there(project):
    host = project(files={"/etc/any": "files/any/"})
    for name, mode in (("script", 0o755), ("text", 0o600)):
        (host.root / "files" / "any" / name).write_text("#!/bin/sh\n")
        (host.root / "files" / "any" / name).chmod(mode)
    assert [file.mode for file in files(host).values()] == ["0755", "0644"]


def test_what_else_lies_in_a_folder_of_configuration_is_drift_and_its_removal_is_taken_up(storage_host):
    host = storage_host(services={"cache": {"image": "nginx", "files": {"/etc/any/project.sh": "files/project.sh"}}})
    kinds = [type(resource) for resource in resources(host, "cache")]
    assert kinds.index(Contents) < kinds.index(Project) < kinds.index(FreshContainer)
    contents, loaded = one_of(host, "cache", Contents), one_of(host, "cache", FreshContainer)
    assert (contents.path, contents.names) == ("/etc/stowage/cache/files/etc/any", ("project.sh",))
    assert loaded.folders == (contents.path,)
    assert loaded.undone_by(contents, made=False)


ODD = "$HOME ${A} $$ 'q' \"d\" \\n #x =y `id`"


def test_words_and_values_reach_docker_as_they_are(storage_host):
    cache = {"image": "nginx", "command": ["run", ODD, ""], "environment": {"A": ODD, "B": ""}}
    text = one_of(storage_host(services={"cache": cache}), "cache", Project).text()
    service = json.loads(text)["services"]["cache"]
    assert [word.replace("$$", "$") for word in service["command"]] == ["run", ODD, ""]
    assert {key: value.replace("$$", "$") for key, value in service["environment"].items()} == {"A": ODD, "B": ""}


def test_a_secret_stands_in_no_definition_and_a_new_one_makes_the_container_anew(storage_host):
    def made(secret: str) -> Project:
        secrets = {"secrets": {"FILE": Secret(secret)}, "secret_environment": {"PLAIN": Secret(secret)}}
        return one_of(storage_host(services={"cache": {"image": "nginx", **secrets}}), "cache", Project)

    assert "SENTINEL" not in made("SENTINEL").text()
    assert made("SENTINEL").hash_of("cache") != made("another").hash_of("cache")


def test_who_was_started_with_a_secret_that_somebody_had_changed_is_started_anew(storage_host):
    secrets = {"secrets": {"FILE": Secret("x")}}
    project = one_of(storage_host(services={"cache": {"image": "nginx", **secrets}}), "cache", Project)
    assert project.read_at_start == ("/etc/stowage/cache/secrets/FILE",)


def test_a_container_is_hardened_unless_its_page_says_otherwise():
    plain = definition("any", page().services["any"], 9000, "any:1", "stowage", "/etc/stowage/any", ())
    assert (plain["user"], plain["read_only"], plain["cap_drop"]) == ("9000:9000", True, ["ALL"])
    assert plain["security_opt"] == ["no-new-privileges:true"]
    assert "ports" not in plain


def test_a_service_stands_alone_behind_what_it_needs(storage_host):
    services = {"one": {"image": "nginx", "needs": ["minio", "two"]}, "two": {"image": "nginx"}}
    role = named("one", storage_host(services=services))
    assert role.alone
    assert {"docker", "images", "minio", "two"} <= {*role.needs}


def test_at_shutdown_each_service_has_its_own_time_and_the_unit_longer_than_any(storage_host):
    """If the unit's time ended first, systemd would kill `compose stop`, and Docker the containers, halfway."""
    host = storage_host(services={"slow": {"image": "nginx", "grace": 600}, "fast": {"image": "nginx", "grace": 5}})
    text = {
        resource.path.rpartition("/")[2]: resource.content
        for resource in at_boot(host, "fast").links
        if isinstance(resource, File)
    }
    assert int(re.search(r"TimeoutStopSec=(\d+)", text["stowage@.service"])[1]) > 600
    assert "--timeout" not in text["project"]


def test_an_image_that_only_a_service_has_comes_with_it_and_costs_no_other(storage_host):
    own = {"images__own": {"reference": "docker.io/own:1"}, "images__spare": {"reference": "docker.io/spare:1"}}
    services = {"one": {"image": "own"}, "two": {"image": "nginx"}}
    host = storage_host(services=services, **own)
    shared = [want.reference for want in named("images").wants(host)]
    assert "docker.io/own:1" not in shared and "docker.io/spare:1" in shared
    assert one_of(host, "one", Image).reference == "docker.io/own:1"
    assert "images" not in named("one", host).needs and "images" in named("two", host).needs
    off = storage_host(services={"one": {"image": "own", "enabled": False}}, **own)
    assert "docker.io/own:1" not in [want.reference for want in named("images").wants(off)], "nobody wants it"


def test_what_it_may_read_of_the_host_it_cannot_write_and_sees_what_is_mounted_later(storage_host):
    host = storage_host(services={"eye": {"image": "nginx", "reads": {"/host": "/"}, "nobody": True}})
    (eye,) = one_of(host, "eye", Project).services.values()
    assert eye["user"] == "65534:65534"
    (bound,) = eye["volumes"]
    assert (bound["source"], bound["target"], bound["read_only"]) == ("/", "/host", True)
    assert bound["bind"] == {"create_host_path": False, "propagation": "rslave"}


def test_of_a_service_that_is_taken_out_only_its_data_stays(machine):
    folder = machine.folder / "etc"
    (folder / "files/conf.d").mkdir(parents=True)
    (folder / "files/foreign").write_text("theirs")
    assert machine.deploy(NoFolder(str(folder / "files"))).done
    assert not (folder / "files").exists()
    assert Path(f"{machine.folder}/stowage/previous{folder}/files/foreign").read_text() == "theirs"
    assert gone(None, "directory", "/etc/stowage/cache/secrets") == NoFolder("/etc/stowage/cache/secrets")
    assert gone(None, "directory", "/srv/stowage/cache") is None
    assert gone(None, "file", "/etc/stowage/cache/secrets/A") is None, "the engine takes that away itself"


def test_a_variable_that_holds_another_secret_than_it_should_is_seen_and_never_shown(storage_host):
    """Somebody may have changed the file of variables, made the container, and then put the file back."""
    cache = {"image": "nginx", "secret_environment": {"TOKEN": Secret("ours")}}
    project = one_of(storage_host(services={"cache": cache}), "cache", Project)
    there = inspected(project.services["cache"])
    for value, wanted in (("ours", []), ("theirs", ["variable TOKEN another value -> as defined"])):
        there["Config"]["Env"] = [f"TOKEN={value}"]
        assert list(map(str, differences(project.services["cache"], there, (), (), project.hidden["cache"]))) == wanted
    assert "ours" not in project.text()


BACKED = {"image": "nginx", "data": {"/var/lib/a": "/srv/a"}}


@pytest.mark.parametrize(
    ("backup", "why"),
    [
        (["/var/lib/b"], "data has no /var/lib/b"),
        (["/var/lib/a", "/var/lib/a"], "stands twice"),
        ([], "at least 1"),
        ({"stop": True}, "Field required"),
    ],
)
def test_what_cannot_be_held_by_a_set_is_refused(storage_host, backup, why):
    with pytest.raises(ValidationError, match=why):
        storage_host(services={"a": {**BACKED, "backup": backup}})


def test_who_wants_to_be_held_by_sets_needs_a_host_that_makes_them(storage_host):
    with pytest.raises(ValidationError, match="the host makes no backups"):
        storage_host(services={"a": {**BACKED, "backup": ["/var/lib/a"]}}, backup=None)
