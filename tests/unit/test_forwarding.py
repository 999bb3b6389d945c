"""Docker's bridge and firewall rules, and foreign firewalls that block them, from the output of iptables and nft."""

from __future__ import annotations

import json

import pytest

from converge.engine import plan as planning
from converge.engine.resource import Chain, Refusal
from converge.resources.docker import inspect
from converge.resources.forwarding import Forwarding, Passage
from roles import docker

BRIDGE = "br-2ebdecdb4f86"
WANTED = Forwarding("stowage", "172.30.99.0/24", ("nginx",))
PASSAGE = Passage("stowage")
NETWORK = {
    "Name": "stowage",
    "Id": "2ebdecdb4f86bd9c958f",
    "IPAM": {"Config": [{"Subnet": "172.30.99.0/24"}]},
    "Containers": {
        "1": {"Name": "nginx", "IPv4Address": "172.30.99.10/24"},
        "2": {"Name": "minio1", "IPv4Address": "172.30.99.11/24"},
    },
}
ROUTE = f"172.30.99.0/24 dev {BRIDGE} proto kernel scope link src 172.30.99.1"
# The rules of Docker 26; Docker 28 has DOCKER-FORWARD.
RULES = f"""\
ip_forward 1
*filter
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o {BRIDGE} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o {BRIDGE} -j DOCKER
-A FORWARD -i {BRIDGE} -o {BRIDGE} -j ACCEPT
-A DOCKER -d 172.30.99.10/32 ! -i {BRIDGE} -o {BRIDGE} -p tcp -m tcp --dport 9000 -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.30.99.0/24 ! -o {BRIDGE} -j MASQUERADE
-A DOCKER ! -i {BRIDGE} -p tcp -m tcp --dport 9000 -j DNAT --to-destination 172.30.99.10:9000
COMMIT
-- nft
"""


def without(*parts: str) -> str:
    return "\n".join(line for line in RULES.splitlines() if not any(part in line for part in parts)) + "\n"


def state(rules: str = RULES, route: str = ROUTE, network: dict | None = NETWORK, wanted: Forwarding = WANTED) -> dict:
    return dict(Forwarding.read([wanted], "", json.dumps(network) if network else "", route, rules)[0])


def drops(rules: str) -> str:
    return Passage.read([PASSAGE], "", json.dumps(NETWORK), rules)[0]["drops"]


def differs(before: dict, wanted: Forwarding = WANTED) -> list[str]:
    return wanted.diff(before)


def test_docker_s_own_rules_are_well():
    assert differs(state()) == []
    assert drops(RULES) == ""


def test_docker_28_has_other_chains():
    newer = RULES.replace(f"-A FORWARD -o {BRIDGE} -j DOCKER\n", "-A FORWARD -j DOCKER-FORWARD\n")
    assert differs(state(newer)) == []


def test_nothing_is_missing_while_there_is_no_network():
    assert differs(state("ip_forward 0\n-- nft\n", "", None)) == []


@pytest.mark.parametrize(
    ("lost", "rules"),
    [
        (("-A ",), "without the masquerading of what containers send"),  # iptables -F; iptables -t nat -F
        (("-A ", "*", ":", "COMMIT"), "without the masquerading of what containers send"),  # nft flush ruleset
        (("PREROUTING",), "without the way into its rules for published ports"),
        ((f"-o {BRIDGE} -j DOCKER",), "without the way into its rules for what is forwarded"),
        (("-A FORWARD -j DOCKER-USER",), "without the way into DOCKER-USER, where your own rules are"),
        (("DNAT",), "without the published port of 172.30.99.10"),  # iptables -t nat -F DOCKER
    ],
)
def test_rules_that_somebody_flushed_are_a_restart_of_docker(lost, rules):
    before = state(without(*lost))
    assert differs(before) == [f"rules of Docker: {rules}"]
    assert WANTED.disrupts(before)
    assert WANTED.note(before) == "restarts docker.service"


@pytest.mark.parametrize(
    ("bindings", "wanted"),
    [
        ({}, []),
        ({"9000/tcp": [{"HostIp": "::1", "HostPort": "9000"}]}, []),
        (
            {"9000/tcp": [{"HostIp": "", "HostPort": "9000"}]},
            ["rules of Docker: without the published port of 172.30.99.10"],
        ),
    ],
)
def test_a_container_that_is_to_get_its_first_port_lacks_no_rule_yet(bindings, wanted):
    facts = {
        "HostConfig": {"PortBindings": bindings},
        "Networks": {"stowage": {"IPAddress": "172.30.99.10"}},
    }
    inspected = f"{json.dumps(NETWORK)}\nnginx|running||7||stowage|{json.dumps(facts)}"
    before = Forwarding.read([WANTED], "", inspected, ROUTE, without("DNAT"))[0]
    assert differs(dict(before)) == wanted


def test_docker_that_keeps_no_rules_lacks_none():
    wanted = Forwarding("stowage", "172.30.99.0/24", ("nginx",), iptables=False)
    assert differs(state("ip_forward 1\n-- nft\n", wanted=wanted), wanted) == []


@pytest.mark.parametrize(
    ("route", "difference"),
    [("", "bridge: down, or gone"), (f"{ROUTE} linkdown", "bridge: without its containers")],
)
def test_a_bridge_that_carries_nothing_is_seen(route, difference):
    assert differs(state(route=route)) == [difference]


def test_a_bridge_without_containers_has_no_carrier_and_is_well():
    assert differs(state(route=f"{ROUTE} linkdown", network=NETWORK | {"Containers": {}})) == []


def test_a_kernel_that_does_not_forward_is_mended_without_a_restart():
    before = state(RULES.replace("ip_forward 1", "ip_forward 0"))
    assert differs(before) == ["net.ipv4.ip_forward: 0"]
    assert not WANTED.disrupts(before)
    assert "systemctl restart" not in WANTED.fix(before)[0].script


@pytest.mark.parametrize(
    ("rule", "before"),
    [
        ("-A FORWARD -j DROP", "-A FORWARD -j DOCKER-USER"),
        (f"-A FORWARD -o {BRIDGE} -j DROP", "-A FORWARD -j DOCKER-USER"),
        ("-A DOCKER-USER -j REJECT --reject-with icmp-port-unreachable", "-A DOCKER-USER -j RETURN"),
    ],
)
def test_a_rule_before_docker_s_that_drops_all_is_named_with_the_command_that_takes_it_out(rule, before):
    assert drops(RULES.replace(before, f"{rule}\n{before}")) == rule
    refusal = PASSAGE.refusal({"drops": rule})
    assert isinstance(refusal, Refusal)
    assert rule in refusal.why
    assert f"iptables {rule.replace('-A', '-D', 1)}" in refusal.hint


def test_a_chain_on_the_way_that_drops_all_is_followed():
    rules = RULES.replace("-A FORWARD -j DOCKER-USER", "-A FORWARD -j MINE\n-A FORWARD -j DOCKER-USER\n-A MINE -j DROP")
    assert drops(rules) == "-A MINE -j DROP"


@pytest.mark.parametrize(
    "rule", ["-A FORWARD -s 10.0.0.9/32 -j DROP", "-A FORWARD -i eth1 -j DROP", "-A FORWARD -j LOG"]
)
def test_a_rule_about_others_is_nobody_s_business(rule):
    assert drops(RULES.replace("-A FORWARD -j DOCKER-USER", f"{rule}\n-A FORWARD -j DOCKER-USER")) == ""


def test_a_drop_behind_docker_s_rules_as_ufw_has_it_does_no_harm():
    rules = RULES.replace(
        "-A DOCKER -d", "-A FORWARD -j ufw-reject-forward\n-A ufw-reject-forward -j DROP\n-A DOCKER -d", 1
    )
    assert drops(rules) == ""


NFT = """\
table inet filter {
\tchain input {
\t\ttype filter hook input priority filter; policy drop;
\t}

\tchain forward {
\t\ttype filter hook forward priority filter; policy drop;
\t\tct state established,related accept
\t}
}
"""


def test_a_table_of_nftables_that_drops_what_is_forwarded_is_named():
    assert drops(RULES + NFT) == "table inet filter, chain forward"
    refusal = PASSAGE.refusal({"drops": "table inet filter, chain forward"})
    assert "nft list table inet filter" in refusal.hint


@pytest.mark.parametrize(
    "harmless",
    [
        NFT.replace("hook forward priority filter; policy drop", "hook forward priority filter; policy accept"),
        NFT.replace("ct state", 'iifname "br-*" accept\n\t\tct state'),
        NFT.replace("table inet filter", "table ip filter"),
    ],
)
def test_tables_that_let_containers_through_are_well(harmless):
    assert drops(RULES + harmless) == ""


@pytest.mark.parametrize(
    ("changes", "publishes"),
    [
        ({"edge__listen": "0.0.0.0", "postgres__listen": None}, ("nginx",)),
        ({"edge__listen": "127.0.0.1", "postgres__listen": "127.0.0.1"}, ("nginx", "postgres")),
        ({"edge__listen": "::1", "postgres__listen": None}, ()),
    ],
)
def test_rules_are_looked_for_where_docker_has_them(storage_host, changes, publishes):
    wanted = planning.wanted(docker.docker, storage_host(**changes))
    (forwarding,) = [want.resource for want in wanted if isinstance(want.resource, Forwarding)]
    assert forwarding.publishes == publishes


def test_whatever_of_a_network_asks_docker_is_read_again_once_a_docker_that_stands_still_is_started(storage_host):
    chains = [[*chain] for chain in docker.docker.wants(storage_host()) if isinstance(chain, Chain)]
    asking = [
        want
        for chain in chains
        for want in chain
        if chain[0].kind == "network" and inspect in want.common_questions([want])
    ]
    assert {resource.kind for resource in asking} == {"network", "forwarding", "firewall"}
    assert all("unit:docker.service" in resource.stands_on() for resource in asking)
