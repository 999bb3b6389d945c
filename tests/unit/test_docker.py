"""Networks and images of Docker, as its own command line tells of them."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from converge.resource import Action, Unknown
from converge.resources.docker import Content, Image, Network

STOWAGE = Network("stowage", "172.30.99.0/24")
ROUTES = "default via 10.0.0.1 dev eth0 proto dhcp\n10.0.0.0/24 dev eth0 proto kernel scope link\n172.17.0.0/16 dev docker0 linkdown"
INSPECTED = {
    "Id": "sha256:0",
    "RepoTags": ["pgsty/silo:1"],
    "RepoDigests": ["pgsty/silo@sha256:" + "a" * 64],
    "Os": "linux",
    "Architecture": "amd64",
    "Config": {"Cmd": ["server"], "Env": ["A=1"], "Labels": None, "Hostname": "x"},
    "RootFS": {"Type": "layers", "Layers": ["sha256:1", "sha256:2"]},
    "Size": 123_000_000,
}


@pytest.fixture
def docker(machine):
    """A host whose Docker knows these things by name: each with what `docker inspect` prints of it."""

    def has(routes: str = ROUTES, answers: bool = True, **things: str) -> None:
        machine.program("ip", f"cat <<'END'\n{routes}\nEND" if routes else "")
        lines = "\n".join(f"  {name}) echo '{text}';;" for name, text in things.items())
        machine.program(
            "docker",
            f'{"" if answers else "exit 1"}\n[ "$1" != version ] || exit 0\n'
            f'while [ "$1" != -- ]; do shift; done; shift\nstatus=0\nfor one do case $one in\n{lines}\n  *) status=1;;\nesac; done\nexit $status',
        )
        machine.places["[ -S /run/docker.sock ]"] = "true" if answers else "false"

    return has


@pytest.fixture
def no_docker(machine):
    machine.places["command -v docker"] = "command -v no-docker-here"


def change_of(machine, wanted):
    return machine.plan(wanted).changes[0]


class Shipped:
    """An image of the operator's own Engine."""

    def content(self) -> Content:
        return Content.of(INSPECTED)

    def stream(self):
        yield b"image"


@pytest.mark.parametrize("wanted", [STOWAGE, Image("pgsty/silo:1")])
def test_without_docker_there_is_nothing_yet(machine, no_docker, wanted):
    assert machine.read(wanted) == [None]


@pytest.mark.parametrize("wanted", [STOWAGE, Image("pgsty/silo:1")])
def test_docker_that_does_not_answer_is_unknown_never_absent(machine, docker, wanted):
    docker(answers=False)
    assert isinstance(machine.read(wanted)[0], Unknown)


@pytest.mark.parametrize("wanted", [STOWAGE, Image("pgsty/silo:1")])
def test_what_docker_does_not_know_is_absent(machine, docker, wanted):
    docker()
    assert change_of(machine, wanted).action is Action.CREATE


def test_our_network_with_our_subnet_is_well_though_the_host_has_a_route_to_it(machine, docker):
    docker(ROUTES + "\n172.30.99.0/24 dev br-1 proto kernel", stowage="stowage 172.30.99.0/24 ")
    assert change_of(machine, STOWAGE).action is Action.NONE


@pytest.mark.parametrize("subnet", ["172.31.0.0/16 ", "", "fd00::/64 172.30.99.0/24 "])
def test_a_network_is_never_replaced(machine, docker, subnet):
    docker(stowage=f"stowage {subnet}")
    change = change_of(machine, STOWAGE)
    assert change.action is Action.REFUSED
    assert "containers may hang on it" in change.why


@pytest.mark.parametrize("route", ["172.30.0.0/16 via 10.0.0.9 dev eth0", "172.30.99.128/25 dev tun0", "172.16.0.0/12 dev wg0 scope link", "172.30.99.0/24 dev br-2"])
def test_a_subnet_that_the_host_routes_elsewhere_is_refused_with_the_route(machine, docker, route):
    docker(f"{ROUTES}\n{route}")
    change = change_of(machine, STOWAGE)
    assert change.action is Action.REFUSED
    assert route in change.why
    assert "network.subnet" in change.hint


@pytest.mark.parametrize("route", ["172.30.98.0/24 dev x", "172.30.99.7 dev x", "unreachable 172.30.99.0/24", "default via 172.30.99.1 dev x"])
def test_other_routes_are_nobodys_business(machine, docker, route):
    docker(f"{ROUTES}\n{route}")
    assert change_of(machine, STOWAGE).action is Action.CREATE


def test_a_host_without_a_route_still_shows_its_networks(machine, docker):
    docker(routes="", stowage="stowage 172.30.99.0/24 ")
    assert change_of(machine, STOWAGE).action is Action.NONE


def test_several_networks_are_told_apart(machine, docker):
    docker(stowage="stowage 172.30.99.0/24 ")
    assert machine.read(Network("other", "172.29.0.0/24"), STOWAGE) == [None, {"subnet": "172.30.99.0/24"}]


@pytest.mark.parametrize(
    "reference",
    [
        "pgsty/silo:1",
        "docker.io/pgsty/silo:1",
        "docker.io/pgsty/silo:1@sha256:" + "a" * 64,
        "pgsty/silo@sha256:" + "a" * 64,
    ],
)
def test_an_image_is_known_by_any_of_its_names(reference):
    assert Image.read([Image(reference)], json.dumps(INSPECTED)) != [None]


@pytest.mark.parametrize("reference", ["pgsty/silo:2", "pgsty/silo", "silo:1", "other/silo:1", "pgsty/silo@sha256:" + "b" * 64, "registry.example/pgsty/silo:1"])
def test_an_image_of_another_name_is_another_image(reference):
    assert Image.read([Image(reference)], json.dumps(INSPECTED)) == [None]


@pytest.mark.parametrize(
    ("reference", "tag"),
    [("docker.io/library/nginx:1.28", "nginx:1.28"), ("nginx", "nginx:latest"), ("localhost:5000/nginx", "localhost:5000/nginx:latest")],
)
def test_the_defaults_of_docker_hub_may_be_left_out(reference, tag):
    assert Image.read([Image(reference)], json.dumps(INSPECTED | {"RepoTags": [tag]})) != [None]


def test_an_image_that_was_shipped_is_compared_by_what_it_is_not_by_its_digest(machine, docker):
    docker(**{"pgsty/silo:1": json.dumps(INSPECTED | {"Id": "sha256:other", "RepoDigests": []})})
    for reference in ("pgsty/silo:1", "pgsty/silo:1@sha256:" + "a" * 64):
        assert change_of(machine, Image(reference, Shipped())).action is Action.NONE, "docker load loses digests"


@pytest.mark.parametrize(
    "other", [{"Architecture": "arm64"}, {"RootFS": {"Layers": ["sha256:1"]}}, {"Config": {"Cmd": ["other"]}}, {"Config": None}]
)
def test_an_image_with_other_content_under_the_same_name_is_sent_again(machine, docker, other):
    docker(**{"pgsty/silo:1": json.dumps(INSPECTED | other)})
    change = change_of(machine, Image("pgsty/silo:1", Shipped()))
    assert change.action is Action.UPDATE
    assert change.resource.diff(change.before)


def test_what_docker_makes_of_an_image_on_its_way_does_not_count():
    noise = {"Id": "x", "RepoDigests": [], "Created": "later", "Config": INSPECTED["Config"] | {"Hostname": "y", "Image": "z", "Volumes": None}}
    assert Content.of(INSPECTED | noise) == Content.of(INSPECTED)


def test_an_answer_about_images_that_is_not_understood_is_unknown(machine, docker):
    docker(**{"pgsty/silo:1": '{"half": '})
    assert isinstance(machine.read(Image("pgsty/silo:1"))[0], Unknown)


def test_an_image_says_where_it_comes_from_and_how_large_it_is():
    assert Image("a:1").note(None) == "pulled by the host"
    assert Image("a:1", Shipped()).note(None) == "123 MB from this machine"


def test_an_image_arrives_whole(machine):
    machine.program("docker", f"cat >{machine.folder}/loaded")
    shipped = SimpleNamespace(content=lambda: Content("linux/amd64", "1", "2", 10), stream=lambda: iter([b"layer1", b"layer2"]))
    (step,) = Image("a:1", shipped).fix(None)
    assert machine.link.send(f"PATH={machine.shell.programs}:$PATH; {step.command}", step.source())[0] == 0
    assert (machine.folder / "loaded").read_bytes() == b"layer1layer2"
