"""Several networks on a host: who joins which, with what address, and the expected rules of Docker."""

from __future__ import annotations

import copy
import json

import pytest
from pydantic import ValidationError

from converge.engine import run as runs
from converge.resources.compose import Project
from converge.resources.container_facts import differences
from converge.resources.forwarding import Forwarding
from converge.resources.network import Network
from roles import named

TWO = {"storage-net": {"subnet": "172.40.0.0/24", "public": True}, "monitoring-net": {"subnet": "172.31.0.0/24"}}
SETTINGS = {
    "networks": TWO,
    "minio__networks": ["storage-net", "monitoring-net"],
    "minio__nodes": [{"name": f"minio{n}", "drive": f"drive{n}", "address": f"172.40.0.1{n}"} for n in (1, 2, 3, 4)],
    "postgres__networks": ["monitoring-net"],
    "postgres__address": "172.31.0.20",
}


@pytest.fixture
def joined(storage_host):
    """A host with two networks; the given ones are joined by its service."""

    def make(*networks: str, **changes):
        services = {"grafana": {"image": "nginx", "networks": list(networks)}}
        return storage_host(**{**copy.deepcopy(SETTINGS), "services": services, **changes})

    return make


def wanted(host, name: str, kind: type) -> list:
    return [want.resource for want in runs.prepare(host, [named(name, host)]).wants if isinstance(want.resource, kind)]


def test_a_service_joins_the_networks_that_it_names_and_has_a_fixed_address_in_none(joined):
    (project,) = wanted(joined("monitoring-net", "storage-net"), "grafana", Project)
    assert project.services["grafana"]["networks"] == {"monitoring-net": {}, "storage-net": {}}
    assert set(project.networks) == {"monitoring-net", "storage-net"}


def test_a_node_has_its_address_in_the_first_network_and_joins_the_others(joined):
    (project,) = wanted(joined("monitoring-net"), "minio", Project)
    assert project.services["minio1"]["networks"] == {
        "storage-net": {"ipv4_address": "172.40.0.11"},
        "monitoring-net": {},
    }


def test_a_network_that_is_made_anew_stops_only_who_hangs_on_it(joined):
    networks = {network.name: network.ours for network in wanted(joined("monitoring-net"), "docker", Network)}
    assert networks["storage-net"] == ("minio1", "minio2", "minio3", "minio4", "nginx")
    assert networks["monitoring-net"] == ("minio1", "minio2", "minio3", "minio4", "postgres", "grafana")


def test_where_there_are_several_a_page_says_which_it_joins(joined):
    with pytest.raises(ValidationError, match="several networks: name those that it joins, of storage-net, mon"):
        joined()


def test_with_one_network_nothing_need_be_said(storage_host):
    (project,) = wanted(storage_host(services={"a": {"image": "nginx"}}), "a", Project)
    assert project.services["a"]["networks"] == {"stowage": {}}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"networks__storage-net__public": False}, "public: true, and their owner is not reached from here"),
        ({"minio__networks": ["monitoring-net"]}, "it is not in the network 172.31.0.0/24"),
        ({"postgres__address": "172.31.0.200"}, "Docker gives 172.31.0.128/25 to containers without an address"),
        (
            {"networks": {**TWO, "third": {"subnet": "172.40.0.0/16", "public": True}}},
            "it overlaps with 172.40.0.0/24, the network st",
        ),
        ({"networks": {**TWO, "grafana": {"subnet": "172.29.0.0/24"}}}, "grafana is the name of a container"),
        ({"postgres__networks": ["monitoring"]}, "networks has no monitoring; monitoring-net is near"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(joined, changes, why):
    with pytest.raises(ValidationError, match=why):
        joined("storage-net", **changes)


@pytest.mark.parametrize("published", ["172.40.0.9", "172.31.0.130"])
def test_a_port_of_a_container_with_two_networks_is_published_in_whichever_docker_chose(published):
    """Also in a network that is no longer in the settings, until the container is made anew."""
    inside = {
        "Containers": {"a": {"Name": "nginx", "IPv4Address": "172.40.0.9/24"}},
        "IPAM": {},
        "Id": "0",
        "Name": "one",
    }
    facts = {
        "Networks": {"one": {"IPAddress": "172.40.0.9"}, "two": {"IPAddress": "172.31.0.130"}},
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "80"}]}},
    }
    inspected = f"{json.dumps(inside)}\nnginx|running|then|1|hash|nginx|{json.dumps(facts)}"
    basics = "-A POSTROUTING -s 172.40.0.0/24 -j MASQUERADE\n-A PREROUTING -j DOCKER\n-A FORWARD -j DOCKER\n-A FORWARD -o br-0\n"
    rule = f"-A DOCKER ! -i br-1 -p tcp --dport 80 -j DNAT --to-destination {published}:80"
    forwarding = Forwarding("one", "172.40.0.0/24", ("nginx",))
    assert next(iter(forwarding.common_questions([forwarding]).values())) == ["one", "nginx"]
    (there,) = Forwarding.read([forwarding], "", inspected, "", basics + rule)
    (lost,) = Forwarding.read([forwarding], "", inspected, "", basics)
    assert there["rules of Docker"] == "there"
    assert "without the published port" in lost["rules of Docker"]


def test_a_container_that_left_a_network_is_connected_again_while_it_runs():
    definition = {"container_name": "grafana", "networks": {"one": {}, "two": {}}}
    facts = {"Networks": {"one": {}}, "HostConfig": {"NetworkMode": "one"}}
    commands = {
        difference.field: difference.in_place
        for difference in differences(definition, facts, [])
        if difference.field == "network two"
    }
    assert commands == {"network two": "docker network connect two grafana"}
