"""How packets reach containers: Docker's bridge and rules, and firewalls of other programs that drop them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from converge.engine.resource import Reading, Refusal, Resource, Shell, State, Step
from converge.record import dataclass
from converge.resources.docker import CommonQuestions, containers, inspect, network_called, routes
from converge.resources.unit import forgiven
from converge.shell import quote, quote_all

UNIT = "docker.service"
_OTHERS = "-- nft"


def rules(names: Sequence[str]) -> str:
    """All rules of iptables, and of nftables where its command is there; neither need be."""
    return f"""read -r forward </proc/sys/net/ipv4/ip_forward; echo "ip_forward $forward"
! command -v iptables-save >/dev/null || iptables-save
echo {quote(_OTHERS)}
! command -v nft >/dev/null || nft list ruleset || :"""


@dataclass(frozen=True)
class Forwarding(Resource):
    """A network's bridge that holds its containers, Docker's rules for it, and a kernel that forwards.

    Whoever flushes a firewall by hand takes Docker's rules along, and Docker makes them anew only when it starts.
    """

    kind: ClassVar[str] = "forwarding"
    network: str
    subnet: str
    publishes: tuple[str, ...] = ()
    """Containers that are to have ports of the host; one that runs and has none yet gets them when it is made anew."""
    iptables: bool = True
    """Whether Docker keeps rules there at all; its settings may say otherwise."""

    @property
    def name(self) -> str:
        return self.network

    def desired(self) -> State:
        state = {"net.ipv4.ip_forward": "1", "bridge": "up, with its containers"}
        return state | ({"rules of Docker": "there"} if self.iptables else {})

    def stands_on(self) -> tuple[str, ...]:
        return (f"unit:{UNIT}", f"network:{self.network}")

    @classmethod
    def common_questions(cls, wanted: Sequence[Forwarding]) -> CommonQuestions:
        names = [forwarding.network for forwarding in wanted]
        return {
            inspect: [*names, *(name for forwarding in wanted for name in forwarding.publishes)],
            routes: names,
            rules: names,
        }

    @classmethod
    def read(cls, wanted: Sequence[Forwarding], answer: str, *shared: str) -> list[Reading]:
        inspected, routed, ruled = shared
        addresses = _addresses(inspected)
        return [
            forwarding._state(network_called(inspected, forwarding.network), routed, ruled, addresses)
            for forwarding in wanted
        ]

    def _state(
        self, network: Mapping[str, Any] | None, routed: str, ruled: str, addresses: Mapping[str, list[str]]
    ) -> Reading:
        if network is None:
            return self.desired()  # Docker makes all of it when it makes the network
        forward = next((line.split(" ")[1] for line in ruled.splitlines() if line.startswith("ip_forward ")), "")
        missing = self._missing(network, ruled.partition(_OTHERS)[0], addresses)
        return {
            "net.ipv4.ip_forward": forward,
            "bridge": self._bridge(network, routed),
            "rules of Docker": f"without {missing}" if missing else "there",
        }

    def _bridge(self, network: Mapping[str, Any], routed: str) -> str:
        route = next((line for line in routed.splitlines() if line.startswith(f"{self.subnet} ")), "")
        if not route:
            return "down, or gone"
        alone = route.endswith("linkdown") or " linkdown " in route
        return "without its containers" if alone and network.get("Containers") else "up, with its containers"

    def _missing(self, network: Mapping[str, Any], saved: str, addresses: Mapping[str, list[str]]) -> str:
        """The first part of Docker's rules that is not there, in words."""
        bridge, running = bridge_of(network), network.get("Containers") or {}
        # A container of several networks has its ports in one of them, which Docker chooses.
        published = [
            ips
            for container in running.values()
            if container["Name"] in self.publishes
            and (ips := addresses.get(container["Name"], [container["IPv4Address"].partition("/")[0]]))
        ]
        parts = {
            "the masquerading of what containers send": f"-A POSTROUTING -s {self.subnet} .*MASQUERADE",
            "the way into its rules for published ports": "-A PREROUTING .*-j DOCKER",
            "the way into its rules for what is forwarded": "-A FORWARD .*-j DOCKER(-FORWARD)?$",
            "its rules for this network": f"-A [A-Z-]+ .*{bridge}.*",
        }
        if re.search("(?m)^:DOCKER-USER ", saved):
            parts["the way into DOCKER-USER, where your own rules are"] = "-A FORWARD -j DOCKER-USER"
        parts |= {
            f"the published port of {ips[0]}": f"-A DOCKER .*--to-destination ({'|'.join(ips)}):.*" for ips in published
        }
        return next((part for part, rule in parts.items() if not re.search(f"(?m)^{rule}", saved)), "")

    def diff(self, before: State | None) -> list[str]:
        return [line.partition(" -> ")[0] for line in super().diff(before)]

    def note(self, before: State | None) -> str:
        return f"restarts {UNIT}" if before and self._restarts(before) else ""

    def _restarts(self, before: State) -> bool:
        wanted = self.desired()
        return any(before.get(key) != wanted[key] for key in wanted if key != "net.ipv4.ip_forward")

    def disrupts(self, before: State | None) -> bool:
        return bool(before and self._restarts(before))

    def fix(self, before: State | None) -> list[Step]:
        restart = f"""{forgiven(UNIT)}systemctl restart {UNIT}
# Docker itself leads there only where it makes the chain.
! iptables -n -L DOCKER-USER >/dev/null 2>&1 || iptables -C FORWARD -j DOCKER-USER 2>/dev/null || iptables -I FORWARD -j DOCKER-USER
case $(ip -4 -o route show {quote(self.subnet)}) in *linkdown*)
  # The bridge was made anew: whoever runs still holds on to the one before.
  docker ps -q --filter {quote(f"network={self.network}")} | xargs -r docker restart -t 90 --;;
esac"""
        return [Shell(f"sysctl -qw net.ipv4.ip_forward=1\n{restart if before and self._restarts(before) else ''}")]


@dataclass(frozen=True)
class Passage(Resource):
    """No firewall of another program drops all that is forwarded to containers. Such a firewall is reported, never edited."""

    kind: ClassVar[str] = "firewall"
    holds_back: ClassVar[bool] = False
    network: str

    @property
    def name(self) -> str:
        return self.network

    def desired(self) -> State:
        return {"drops": ""}

    def stands_on(self) -> tuple[str, ...]:
        return (f"unit:{UNIT}",)

    @classmethod
    def common_questions(cls, wanted: Sequence[Passage]) -> CommonQuestions:
        names = [passage.network for passage in wanted]
        return {inspect: names, rules: names}

    @classmethod
    def read(cls, wanted: Sequence[Passage], answer: str, *shared: str) -> list[Reading]:
        saved, _, others = shared[1].partition(_OTHERS)
        readings: list[Reading] = []
        for passage in wanted:
            bridge = bridge_of(network_called(shared[0], passage.network) or {})
            readings.append({"drops": _dropped(saved, "FORWARD", bridge) or _other_table(others, bridge)})
        return readings

    def refusal(self, before: State | None) -> Refusal | None:
        if not before:
            return None
        rule = before["drops"]
        if rule.startswith("-A "):
            hint = f"on the host, when nobody needs it: iptables {rule.replace('-A', '-D', 1)}; and where it was kept for the next boot"
            return Refusal(f"a rule before Docker's drops what is forwarded to containers: iptables {rule}", hint)
        table = quote_all(rule.replace(",", "").split(" ")[1:3])
        hint = (
            f'on the host: nft list table {table}; let the bridges of Docker through there (iifname and oifname "br-*" accept), '
            "also in /etc/nftables.conf"
        )
        return Refusal(f"a firewall beside Docker's drops what is forwarded to containers: {rule}, policy drop", hint)

    def fix(self, before: State | None) -> list[Step]:
        return []


def _addresses(inspected: str) -> dict[str, list[str]]:
    """The addresses of each container, in whatever networks it is; none of one that publishes nothing."""
    facts = {name: json.loads(container.facts) for name, container in containers(inspected).items()}
    return {
        name: [
            str(endpoint["IPAddress"])
            for endpoint in (details.get("Networks") or {}).values()
            if endpoint and endpoint.get("IPAddress") and _publishes(details)
        ]
        for name, details in facts.items()
    }


def _publishes(details: Mapping[str, Any]) -> bool:
    """Whether a container has a port at an IPv4 address of the host now, whatever its settings say by now."""
    bindings = (details.get("HostConfig") or {}).get("PortBindings") or {}
    return any(":" not in (binding.get("HostIp") or "") for places in bindings.values() for binding in places or ())


def bridge_of(network: Mapping[str, Any]) -> str:
    """The name of a network's bridge on the host."""
    named = (network.get("Options") or {}).get("com.docker.network.bridge.name")
    return str(named or f"br-{str(network.get('Id', ''))[:12]}")


def _dropped(saved: str, chain: str, bridge: str, depth: int = 0) -> str:
    """The first rule of a chain that drops everything, or everything of this bridge, before Docker's rules."""
    for rule in (line for line in _filter(saved) if line.startswith(f"-A {chain} ")):
        match, _, target = rule.partition(f"-A {chain} ")[2].rpartition("-j ")
        target = target.split(" ")[0]
        if target.startswith("DOCKER") and target != "DOCKER-USER":
            return ""
        if match.strip() not in ("", f"-i {bridge}", f"-o {bridge}"):
            continue
        if target in ("DROP", "REJECT"):
            return rule
        if target in ("ACCEPT", "RETURN") and not match.strip():
            return ""
        if depth < 5 and (inner := _dropped(saved, target, bridge, depth + 1)):
            return inner
    return ""


def _filter(saved: str) -> Iterator[str]:
    """The lines of the table `filter`; other tables have chains of the same names."""
    in_filter = False
    for line in saved.splitlines():
        in_filter = line == "*filter" if line.startswith("*") else in_filter
        if in_filter:
            yield line


def _other_table(ruleset: str, bridge: str) -> str:
    """A chain of nftables that drops by its policy what is forwarded, and names no bridge of Docker's that may pass.

    The tables `filter` of ip and ip6 are those of iptables.
    """
    for table in re.finditer(r"(?ms)^table (\w+) (\S+) \{$(.*?)^\}", ruleset):
        family, name, body = table.groups()
        if family not in ("ip", "inet", "bridge") or (family, name) == ("ip", "filter"):
            continue
        for chain in re.finditer(r"(?ms)^\tchain (\S+) \{$(.*?)^\t\}", body):
            drops = re.search(r"hook forward [^;]*; policy drop;", chain[2])
            passes = re.search(rf'"?({re.escape(bridge)}|br-\*|docker0)"?.*accept', chain[2])
            if drops and not passes:
                return f"table {family} {name}, chain {chain[1]}"
    return ""
