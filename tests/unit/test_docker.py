"""Docker's networks and images, from the output of its command line."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from converge.engine.resource import Action, Refusal, Unknown
from converge.resources.compose import Project
from converge.resources.docker import Content, Image, NoSnap
from converge.resources.network import Network

DIGEST = f"sha256:{'a' * 64}"
STOWAGE = Network("stowage", "172.30.99.0/24", ("minio1", "nginx"))
ROUTES = """\
default via 10.0.0.1 dev eth0 proto dhcp
10.0.0.0/24 dev eth0 proto kernel scope link
172.17.0.0/16 dev docker0 linkdown"""
INSPECTED = {
    "Id": "sha256:0",
    "RepoTags": ["pgsty/silo:1"],
    "RepoDigests": [f"pgsty/silo@{DIGEST}"],
    "Os": "linux",
    "Architecture": "amd64",
    "Config": {"Cmd": ["server"], "Env": ["A=1"], "Labels": None, "Hostname": "x"},
    "RootFS": {"Type": "layers", "Layers": ["sha256:1", "sha256:2"]},
    "Size": 123_000_000,
}


def network(name: str, *subnets: str) -> dict:
    return {
        "Name": name,
        "IPAM": {
            "Config": [
                {"Subnet": subnet, "IPRange": "172.30.99.128/25", "Gateway": "172.30.99.1"} for subnet in subnets
            ]
        },
    }


@pytest.fixture(autouse=True)
def routes(machine):
    """The routes of the host."""

    def are(text: str) -> None:
        machine.program("ip", f"cat <<'END'\n{text}\nEND" if text else "")

    are(ROUTES)
    return are


def change_of(machine, wanted):
    return machine.plan(wanted).changes[0]


class Shipped:
    """An image of the operator's own Engine."""

    def content(self) -> Content:
        return Content.of(INSPECTED)

    def stream(self):
        yield b"image"


@pytest.mark.parametrize("wanted", [STOWAGE, Image("pgsty/silo:1")])
def test_without_docker_there_is_nothing_yet(machine, docker, wanted):
    docker.is_missing()
    assert machine.read(wanted) == [None]


@pytest.mark.parametrize("wanted", [STOWAGE, Image("pgsty/silo:1")])
def test_docker_that_does_not_answer_is_unknown_never_absent(machine, docker, wanted):
    docker.answers(False)
    assert isinstance(machine.read(wanted)[0], Unknown)


@pytest.mark.parametrize("wanted", [STOWAGE, Image("pgsty/silo:1")])
def test_what_docker_does_not_know_is_absent(machine, docker, wanted):
    assert change_of(machine, wanted).action is Action.CREATE


def test_our_network_with_our_subnet_is_well_though_the_host_has_a_route_to_it(machine, docker, routes):
    routes(ROUTES + "\n172.30.99.0/24 dev br-1 proto kernel")
    docker.has("stowage", network("stowage", "172.30.99.0/24"))
    assert change_of(machine, STOWAGE).action is Action.NONE


ODD = [
    (
        {"IPAM": {"Config": [{"Subnet": "172.31.0.0/16", "IPRange": "172.30.99.128/25", "Gateway": "172.30.99.1"}]}},
        "subnet: 172.31.0.0/16 -> 172.30.99.0/24",
    ),
    (
        {"IPAM": {"Config": [{"Subnet": "172.30.99.0/24", "Gateway": "172.30.99.1"}]}},
        "range: none -> 172.30.99.128/25",
    ),
    (
        {"IPAM": {"Config": [{"Subnet": "172.30.99.0/24", "IPRange": "172.30.99.128/25", "Gateway": "172.30.99.129"}]}},
        "gateway: 172.30.99.129 -> 172.30.99.1",
    ),
    ({"Driver": "macvlan"}, "driver: macvlan -> bridge"),
    ({"Internal": True}, "internal: yes -> no"),
    ({"EnableIPv6": True}, "IPv6: yes -> no"),
    (
        {"Options": {"com.docker.network.bridge.enable_icc": "false"}},
        "options: com.docker.network.bridge.enable_icc=false -> none",
    ),
    ({"Labels": {"a": "b"}}, "labels: a=b -> none"),
]


@pytest.mark.parametrize(("odd", "difference"), ODD)
def test_a_network_that_differs_is_made_anew_while_only_ours_hang_on_it(machine, docker, odd, difference):
    docker.has("stowage", network("stowage", "172.30.99.0/24") | {"Containers": {"1": {"Name": "nginx"}}} | odd)
    change = change_of(machine, STOWAGE)
    assert (change.action, change.disrupts) == (Action.UPDATE, True)
    assert STOWAGE.diff(change.before) == [difference]
    assert "minio1, nginx stop meanwhile" in STOWAGE.note(change.before)


@pytest.mark.parametrize(("odd", "difference"), ODD)
def test_a_network_that_differs_is_refused_while_others_hang_on_it(machine, docker, odd, difference):
    hang = {"Containers": {"1": {"Name": "nginx"}, "2": {"Name": "grafana"}}}
    docker.has("stowage", network("stowage", "172.30.99.0/24") | hang | odd)
    change = change_of(machine, STOWAGE)
    assert change.action is Action.REFUSED
    assert difference in change.why
    assert "docker network disconnect stowage grafana" in change.hint


def test_options_that_docker_gives_to_every_network_are_not_ours_to_judge(machine, docker):
    mtu = {"com.docker.network.driver.mtu": "1400"}
    there = network("stowage", "172.30.99.0/24") | {"Options": mtu}
    daemon = json.dumps({"default-network-opts": {"bridge": mtu}})
    inspected = json.dumps(there)
    assert Network.read([STOWAGE], daemon, inspected, "")[0]["options"] == ""
    assert "mtu=1400" in Network.read([STOWAGE], "", inspected, "")[0]["options"]


def test_a_container_of_others_on_our_network_is_shown_by_full(machine, docker):
    hang = {"Containers": {"1": {"Name": "nginx"}, "2": {"Name": "grafana"}}}
    docker.has("stowage", network("stowage", "172.30.99.0/24") | hang)
    (before,) = machine.read(STOWAGE)
    assert STOWAGE.left_alone(before) == ["container grafana is not ours and hangs on it"]


def test_a_project_is_made_anew_with_its_network():
    project = Project("nginx", {"nginx": {"container_name": "nginx"}}, networks={"stowage": {"external": True}})
    assert project.undone_by(STOWAGE, made=False)
    assert not project.undone_by(STOWAGE, made=True)
    assert not project.undone_by(Network("other", "172.29.0.0/24"), made=False)


@pytest.mark.parametrize(
    "route",
    [
        "172.30.0.0/16 via 10.0.0.9 dev eth0",
        "172.30.99.128/25 dev tun0",
        "172.16.0.0/12 dev wg0 scope link",
        "172.30.99.0/24 dev br-2",
    ],
)
def test_a_subnet_that_the_host_routes_elsewhere_is_refused_with_the_route(machine, docker, routes, route):
    routes(f"{ROUTES}\n{route}")
    change = change_of(machine, STOWAGE)
    assert change.action is Action.REFUSED
    assert route in change.why
    assert "networks.stowage.subnet" in change.hint


@pytest.mark.parametrize(
    "route",
    ["172.30.98.0/24 dev x", "172.30.99.7 dev x", "unreachable 172.30.99.0/24", "default via 172.30.99.1 dev x"],
)
def test_other_routes_are_nobodys_business(machine, docker, routes, route):
    routes(f"{ROUTES}\n{route}")
    assert change_of(machine, STOWAGE).action is Action.CREATE


def test_a_host_without_a_route_still_shows_its_networks(machine, docker, routes):
    routes("")
    docker.has("stowage", network("stowage", "172.30.99.0/24"))
    assert change_of(machine, STOWAGE).action is Action.NONE


def test_several_networks_are_told_apart(machine, docker):
    docker.has("stowage", network("stowage", "172.30.99.0/24"))
    docker.has("other", network("another", "172.29.0.0/24"))
    assert machine.read(Network("other", "172.29.0.0/24"), STOWAGE)[1]["subnet"] == "172.30.99.0/24"


@pytest.mark.parametrize(
    "reference",
    ["pgsty/silo:1", "docker.io/pgsty/silo:1", f"docker.io/pgsty/silo:1@{DIGEST}", f"pgsty/silo@{DIGEST}"],
)
def test_an_image_is_known_by_any_of_its_names(machine, docker, reference):
    docker.has(reference, INSPECTED)
    assert change_of(machine, Image(reference)).action is Action.NONE


@pytest.mark.parametrize(
    "reference",
    [
        "pgsty/silo:2",
        "pgsty/silo",
        "silo:1",
        "other/silo:1",
        f"pgsty/silo@sha256:{'b' * 64}",
        "registry.example/pgsty/silo:1",
    ],
)
def test_an_image_of_another_name_is_another_image(machine, docker, reference):
    docker.has("something", INSPECTED)
    docker.has(reference, INSPECTED)
    assert machine.read(Image("something"), Image(reference)) == [None, None]


@pytest.mark.parametrize(
    ("reference", "tag"),
    [
        ("docker.io/library/nginx:1.28", "nginx:1.28"),
        ("nginx", "nginx:latest"),
        ("localhost:5000/nginx", "localhost:5000/nginx:latest"),
    ],
)
def test_the_defaults_of_docker_hub_may_be_left_out(machine, docker, reference, tag):
    docker.has(reference, INSPECTED | {"RepoTags": [tag]})
    assert change_of(machine, Image(reference)).action is Action.NONE


@pytest.mark.parametrize("names", [{"RepoTags": None, "RepoDigests": None}, {"RepoTags": [], "RepoDigests": []}])
def test_an_image_without_any_name_is_nobodys(machine, docker, names):
    docker.has("pgsty/silo:1", INSPECTED | names)
    assert machine.read(Image("pgsty/silo:1")) == [None]


def test_an_image_that_was_shipped_is_compared_by_what_it_is_not_by_its_digest(machine, docker):
    docker.has("pgsty/silo:1", INSPECTED | {"Id": "sha256:other", "RepoDigests": []})
    for reference in ("pgsty/silo:1", f"pgsty/silo:1@{DIGEST}"):
        assert change_of(machine, Image(reference, Shipped())).action is Action.NONE, "docker load loses digests"


@pytest.mark.parametrize(
    "other",
    [{"Architecture": "arm64"}, {"RootFS": {"Layers": ["sha256:1"]}}, {"Config": {"Cmd": ["other"]}}, {"Config": None}],
)
def test_an_image_with_other_content_under_the_same_name_is_sent_again(machine, docker, other):
    docker.has("pgsty/silo:1", INSPECTED | other)
    change = change_of(machine, Image("pgsty/silo:1", Shipped()))
    assert change.action is Action.UPDATE
    assert change.resource.diff(change.before)


def test_what_docker_makes_of_an_image_on_its_way_does_not_count():
    noise = {
        "Id": "x",
        "RepoDigests": [],
        "Created": "later",
        "Config": INSPECTED["Config"] | {"Hostname": "y", "Image": "z", "Volumes": None},
    }
    assert Content.of(INSPECTED | noise) == Content.of(INSPECTED)


def test_an_answer_about_images_that_is_not_understood_is_unknown(machine, docker):
    (docker.things / "pgsty_silo:1").write_text('{"RootFS": ')
    assert isinstance(machine.read(Image("pgsty/silo:1"))[0], Unknown)


def test_an_image_says_where_it_comes_from_and_how_large_it_is():
    assert Image("a:1").note(None) == "pulled by the host"
    assert Image("a:1", Shipped()).note(None) == "123 MB from this machine"


def test_an_image_arrives_whole(machine, docker):
    docker.answers(True, otherwise=f"cat >{machine.folder}/loaded")
    shipped = SimpleNamespace(
        content=lambda: Content("linux/amd64", "1", "2", 10), stream=lambda: iter([b"layer1", b"layer2"])
    )
    (step,) = Image("a:1", shipped).fix(None)
    assert machine.link.send(f"PATH={machine.shell.programs}:$PATH; {step.command}", step.source())[0] == 0
    assert (machine.folder / "loaded").read_bytes() == b"layer1layer2"


def test_an_image_that_can_no_longer_be_pulled_may_stay_where_it_is(machine, docker):
    withdrawn = Image("minio/minio:1", withdrawn=Refusal("withdrawn", "name another"))
    assert change_of(machine, withdrawn).action is Action.REFUSED
    docker.has("minio/minio:1", INSPECTED | {"RepoTags": ["minio/minio:1"]})
    assert change_of(machine, withdrawn).action is Action.NONE


def test_docker_of_snap_is_refused(machine, docker, tmp_path):
    assert change_of(machine, NoSnap()).action is Action.NONE
    (tmp_path / "docker").touch()
    machine.places["/snap/bin/docker"] = str(tmp_path / "docker")
    machine.places["/snap/*|"] = f"{tmp_path}/*|/snap/*|"
    change = change_of(machine, NoSnap())
    assert change.action is Action.REFUSED
    assert str(tmp_path / "docker") in change.why
