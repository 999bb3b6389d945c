"""A private bridge network of a host, compared with what we would make."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any, ClassVar

from converge.engine.resource import Reading, Refusal, Resource, Shell, State, Step
from converge.record import dataclass
from converge.resources.docker import CommonQuestions, inspect, network_called, routes
from converge.shell import quote_all, sh


@dataclass(frozen=True)
class Network(Resource):
    """A bridge network with a fixed subnet, and else as Docker makes it.

    Containers without a fixed address get one of the subnet's upper half: else one of them has a node's address when that node
    comes back.

    No network can be changed while it is there. One that differs is made anew when only containers of `ours` hang on it: they are
    stopped and removed, and made anew by their projects.
    """

    kind: ClassVar[str] = "network"
    network: str
    subnet: str
    ours: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.network

    @property
    def spare(self) -> str:
        """The addresses that Docker gives to containers without a fixed one."""
        return str(list(ip_network(self.subnet).subnets())[1])

    @property
    def gateway(self) -> str:
        """The host's own address. Left to itself, Docker takes the first of the spare ones."""
        return str(next(ip_network(self.subnet).hosts()))

    def desired(self) -> State:
        return {
            "driver": "bridge",
            "subnet": self.subnet,
            "range": self.spare,
            "gateway": self.gateway,
            "internal": "no",
            "IPv6": "no",
            "options": "",
            "labels": "",
        }

    def stands_on(self) -> tuple[str, ...]:
        return ("unit:docker.service",)

    @classmethod
    def probe(cls, wanted: Sequence[Network]) -> str:
        """Docker gives options of its own configuration to every network that it makes."""
        return "cat /etc/docker/daemon.json || :"

    @classmethod
    def common_questions(cls, wanted: Sequence[Network]) -> CommonQuestions:
        names = [network.network for network in wanted]
        return {inspect: names, routes: names}

    @classmethod
    def read(cls, wanted: Sequence[Network], answer: str, *shared: str) -> list[Reading]:
        inspected, routed = shared
        usual = _usual_options(answer)
        return [network._state(network_called(inspected, network.network), usual, routed) for network in wanted]

    def _state(self, existing: Mapping[str, Any] | None, usual: Mapping[str, str], routed: str) -> Reading:
        if existing is None:
            return {"clash": clash} if (clash := self._clash(routed)) else None
        options = {key: value for key, value in (existing.get("Options") or {}).items() if usual.get(key) != value}
        addresses = [pool.get("Subnet", "") for pool in existing["IPAM"].get("Config") or []]
        others = sorted(
            container["Name"]
            for container in (existing.get("Containers") or {}).values()
            if container["Name"] not in self.ours
        )
        return {
            "driver": existing.get("Driver", "bridge"),
            "subnet": " ".join(addresses),
            "range": " ".join(pool.get("IPRange", "") for pool in existing["IPAM"].get("Config") or []),
            "gateway": " ".join(pool.get("Gateway", "") for pool in existing["IPAM"].get("Config") or []),
            "internal": "yes" if existing.get("Internal") else "no",
            "IPv6": "yes" if existing.get("EnableIPv6") else "no",
            "options": _pairs(options),
            "labels": _pairs(existing.get("Labels") or {}),
            "others": " ".join(others),
        }

    def _clash(self, routed: str) -> str:
        """The route of the host that has addresses of this subnet."""
        subnet = ip_network(self.subnet)
        for line in routed.splitlines():
            place = line.split(" ")[0]
            if line[:1].isdigit() and "/" in place and ip_network(place).overlaps(subnet):
                return line
        return ""

    def left_alone(self, before: State) -> list[str]:
        return [f"container {name} is not ours and hangs on it" for name in before.get("others", "").split()]

    def refusal(self, before: State | None) -> Refusal | None:
        if before and before.get("clash"):
            return Refusal(
                f"{self.subnet} collides with a route of the host: {before['clash']}",
                f"choose another networks.{self.network}.subnet in the inventory; a network of Docker that nobody needs any more goes "
                "with, on the host: docker network rm NAME",
            )
        if before and before.get("others"):
            differing = "; ".join(self.diff(before))
            away = sh("docker network disconnect {} {}", self.network, before["others"].split(" ")[0])
            return Refusal(
                f"it differs ({differing}) and must be made anew, and containers that are not ours hang on it: {before['others']}",
                f"on the host, for each of them: {away}; then: inv deploy",
            )
        return None

    def diff(self, before: State | None) -> list[str]:
        wanted = self.desired()
        return [
            f"{key}: {before.get(key) or 'none'} -> {wanted[key] or 'none'}"
            for key in (wanted if before else ())
            if before and before.get(key) != wanted[key]
        ]

    def note(self, before: State | None) -> str:
        return f"made anew: {', '.join(self.ours) or 'nothing'} stop meanwhile" if before else ""

    def disrupts(self, before: State | None) -> bool:
        return before is not None

    def fix(self, before: State | None) -> list[Step]:
        make = sh(
            "docker network create --driver bridge --subnet {} --ip-range {} --gateway {} -- {}",
            self.subnet,
            self.spare,
            self.gateway,
            self.network,
        )
        # A container of a network that is gone can be connected to no other. It holds no data, and its project makes it anew.
        away = f"""
have=
for container in {quote_all(self.ours)}; do ! docker container inspect -- "$container" >/dev/null 2>&1 || have="$have $container"; done
[ -z "$have" ] || {{ printf '%s\\n' $have | xargs -P 0 -n 1 docker stop --; docker rm -- $have; }}
"""
        gone = sh("docker network rm -- {}\n", self.network) if before else ""
        return [Shell(f"{away if self.ours else ''}{gone}{make}")]


def _usual_options(daemon: str) -> Mapping[str, str]:
    try:
        return dict(json.loads(daemon)["default-network-opts"]["bridge"])
    except (ValueError, KeyError, TypeError):
        return {}


def _pairs(mapping: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(mapping.items()))
