"""A container as Docker runs it, compared with the definition that compose made it from: what matters, security first.

A label says what a container was made from. It does not say what somebody has done to it since, nor who made it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from converge.inventory.secret import Secret
from converge.record import dataclass
from converge.shell import quote_all, sh

_HOST = [
    "Privileged",
    "CapAdd",
    "CapDrop",
    "SecurityOpt",
    "ReadonlyRootfs",
    "PidMode",
    "IpcMode",
    "UTSMode",
    "UsernsMode",
    "NetworkMode",
    "Devices",
    "DeviceCgroupRules",
    "DeviceRequests",
    "GroupAdd",
    "RestartPolicy",
    "Memory",
    "NanoCpus",
    "PidsLimit",
    "PortBindings",
    "ExtraHosts",
    "Tmpfs",
    "ShmSize",
    "Sysctls",
    "VolumesFrom",
    "OomKillDisable",
    "Dns",
]
_CONFIG = ["User", "Entrypoint", "Cmd", "Env", "Hostname", "Image", "StopSignal", "StopTimeout", "Healthcheck"]


def _json(section: str, keys: Sequence[str]) -> str:
    fields = ",".join(f'"{key}":{{{{json (index . "{section}" "{key}")}}}}' for key in keys)
    return f'"{section}":{{{fields}}}'


FORMAT = (
    f"{{{_json('HostConfig', _HOST)},{_json('Config', _CONFIG)},"
    '"Mounts":{{json .Mounts}},"Networks":{{json .NetworkSettings.Networks}}}'
)
"""The piece of a format of `docker inspect` that tells what is read here, as JSON."""

PRIVATE_NAMESPACES = ("", "private", "shareable", "default")


@dataclass(frozen=True)
class Difference:
    """One field in which a container is not as its definition says, and the command that mends it without a restart."""

    field: str
    actual: str
    wanted: str
    in_place: str = ""

    def __str__(self) -> str:
        return f"{self.field} {self.actual or 'none'} -> {self.wanted or 'none'}"


def differences(
    definition: Mapping[str, Any],
    facts: Mapping[str, Any],
    image_env: Sequence[str],
    networks: Collection[str] = (),
    hidden: Mapping[str, Secret] = MappingProxyType({}),
) -> list[Difference]:
    """Where a container differs from its definition.

    `image_env` is what its image puts into the environment, `networks` the ids of those that there are, `hidden` what
    variables of the `env_file` have to hold: that one differs is told, and neither value.
    """
    name, host, config = definition["container_name"], facts.get("HostConfig") or {}, facts.get("Config") or {}
    differing = [
        Difference(field, _shown(have), _shown(want))
        for field, read, wanted in FIELDS
        if (want := wanted(definition)) is not None and (have := read(host, config)) != want
    ]
    restart = (host.get("RestartPolicy") or {}).get("Name") or "no"
    if restart != definition.get("restart", "no"):
        mend = sh("docker update --restart={} -- {}", definition.get("restart", "no"), name)
        differing.append(Difference("restart", restart, definition.get("restart", "no"), mend))
    if (have := _mounted(facts)) != (want := _bound(definition)):
        differing.append(Difference("mounts", *_of_two(have, want)))
    return [*differing, *_networks(definition, facts, networks), *_environment(definition, config, image_env, hidden)]


def _listed(value: Any) -> tuple[str, ...]:
    return tuple(sorted(map(str, value or ())))


def _capabilities(value: Any) -> tuple[str, ...]:
    """Docker may report CAP_CHOWN where CHOWN was given."""
    return _listed(str(capability).upper().removeprefix("CAP_") for capability in value or ())


def _given(key: str, default: Any = None) -> Callable[[Mapping[str, Any]], Any]:
    """What a definition says; None, which is not compared, where it says nothing and the image decides."""
    return lambda definition: definition.get(key, default)


def _namespaces(host: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, ...]:
    """The namespaces that it shares with the host or another container."""
    kinds = {"pid": "PidMode", "ipc": "IpcMode", "uts": "UTSMode", "user": "UsernsMode"}
    shared = [
        f"{kind} {host.get(key)}" for kind, key in kinds.items() if (host.get(key) or "") not in PRIVATE_NAMESPACES
    ]
    network = str(host.get("NetworkMode") or "")
    return tuple([*shared, *([f"network {network}"] if network in ("host", "none") or ":" in network else [])])


def _devices(host: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, ...]:
    devices = [device.get("PathOnHost", "?") for device in host.get("Devices") or ()]
    return tuple(
        sorted([*devices, *(host.get("DeviceCgroupRules") or ()), *map(str, host.get("DeviceRequests") or ())])
    )


def _ports(host: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, ...]:
    bindings = (host.get("PortBindings") or {}).items()
    return tuple(
        sorted(
            f"{binding.get('HostIp') or '0.0.0.0'}:{binding.get('HostPort')} to {inside.removesuffix('/tcp')}"
            for inside, where in bindings
            for binding in where or ()
        )
    )


def _published(definition: Mapping[str, Any]) -> tuple[str, ...]:
    ports = [str(port).rsplit(":", 2) for port in definition.get("ports", ())]
    return tuple(sorted(f"{ip.strip('[]')}:{outside} to {inside}" for ip, outside, inside in ports))


def _hosts(host: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, ...]:
    return _listed(str(entry).replace("=", ":", 1) for entry in host.get("ExtraHosts") or ())


def _limits(host: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, ...]:
    keys = ("Memory", "NanoCpus", "PidsLimit", "OomKillDisable")
    return tuple(f"{key} {host[key]}" for key in keys if host.get(key))


def _limited(definition: Mapping[str, Any]) -> tuple[str, ...]:
    return (f"Memory {definition['mem_limit']}",) if "mem_limit" in definition else ()


Read = Callable[[Mapping[str, Any], Mapping[str, Any]], Any]
FIELDS: tuple[tuple[str, Read, Callable[[Mapping[str, Any]], Any]], ...] = (
    (
        "privileged",
        lambda host, config: bool(host.get("Privileged")),
        lambda definition: bool(definition.get("privileged", False)),
    ),
    (
        "capabilities added",
        lambda host, config: _capabilities(host.get("CapAdd")),
        lambda definition: _capabilities(definition.get("cap_add")),
    ),
    (
        "capabilities dropped",
        lambda host, config: _capabilities(host.get("CapDrop")),
        lambda definition: _capabilities(definition.get("cap_drop")),
    ),
    (
        "security options",
        lambda host, config: _listed(host.get("SecurityOpt")),
        lambda definition: _listed(definition.get("security_opt")),
    ),
    ("shared namespaces", _namespaces, lambda definition: ()),
    ("devices", _devices, lambda definition: _listed(definition.get("devices"))),
    ("volumes of others", lambda host, config: _listed(host.get("VolumesFrom")), lambda definition: ()),
    (
        "read-only root",
        lambda host, config: bool(host.get("ReadonlyRootfs")),
        lambda definition: bool(definition.get("read_only", False)),
    ),
    ("user", lambda host, config: config.get("User") or "", _given("user")),
    (
        "groups",
        lambda host, config: _listed(host.get("GroupAdd")),
        lambda definition: _listed(definition.get("group_add")),
    ),
    (
        "kernel settings",
        lambda host, config: host.get("Sysctls") or {},
        lambda definition: definition.get("sysctls", {}),
    ),
    ("limits", _limits, _limited),
    ("ports", _ports, _published),
    ("image", lambda host, config: config.get("Image"), _given("image")),
    ("entrypoint", lambda host, config: config.get("Entrypoint"), _given("entrypoint")),
    ("command", lambda host, config: config.get("Cmd"), _given("command")),
    ("hostname", lambda host, config: config.get("Hostname"), _given("hostname")),
    ("name servers", lambda host, config: _listed(host.get("Dns")), lambda definition: _listed(definition.get("dns"))),
    ("fixed names", _hosts, lambda definition: _listed(definition.get("extra_hosts"))),
    (
        "folders in memory",
        lambda host, config: _listed(host.get("Tmpfs")),
        lambda definition: _listed(definition.get("tmpfs")),
    ),
    ("shared memory", lambda host, config: str(host.get("ShmSize")), _given("shm_size")),
    ("stop signal", lambda host, config: config.get("StopSignal"), _given("stop_signal")),
    (
        "health check",
        lambda host, config: (config.get("Healthcheck") or {}).get("Test"),
        lambda definition: definition.get("healthcheck", {}).get("test"),
    ),
)
"""A field in plain words, how it is read from `docker inspect`, and what a definition says of it; None is not compared."""

SECRET_VARIABLES = "x-secret-variables"
"""The key of a definition that lists the variables of its `env_file`; their values stand in `Project.hidden` alone."""
ELSEWHERE = (
    *("container_name", "restart", "volumes", "networks", "environment", "labels", "stop_grace_period"),
    *("env_file", SECRET_VARIABLES),
)
"""Keys of a definition that are compared by a rule of their own, or (the last) only matter at a stop, which names its own."""
KEYS = [
    "privileged",
    "cap_add",
    "cap_drop",
    "security_opt",
    "devices",
    "read_only",
    "user",
    "group_add",
    "sysctls",
    "ports",
    "image",
    "entrypoint",
    "command",
    "hostname",
    "dns",
    "extra_hosts",
    "tmpfs",
    "shm_size",
    "mem_limit",
    "stop_signal",
    "healthcheck",
]
"""Keys of a definition that FIELDS compares."""


def _mounted(facts: Mapping[str, Any]) -> set[str]:
    """The mounts of a container. Volumes without a name come from its image, and hold nobody's data."""
    return {
        f"{mount.get('Name') or mount.get('Source')} at {mount.get('Destination')}{'' if mount.get('RW') else ', read-only'}"
        for mount in facts.get("Mounts") or ()
        if mount.get("Type") != "tmpfs" and len(mount.get("Name") or "") != 64
    }


def _bound(definition: Mapping[str, Any]) -> set[str]:
    return {
        f"{volume['source']} at {volume['target']}{', read-only' if volume.get('read_only') else ''}"
        for volume in definition.get("volumes", ())
        if volume["type"] != "tmpfs"
    }


def _of_two(have: set[str], want: set[str]) -> tuple[str, str]:
    return "; ".join(sorted(have - want)), "; ".join(sorted(want - have))


def _networks(
    definition: Mapping[str, Any], facts: Mapping[str, Any], networks: Collection[str]
) -> Iterator[Difference]:
    wanted = definition.get("networks", {})
    wanted = wanted if isinstance(wanted, Mapping) else dict.fromkeys(wanted)
    have, name = facts.get("Networks") or {}, definition["container_name"]
    for network in sorted(set(have) - set(wanted)):
        mend = sh("docker network disconnect -f {} {}", network, name)
        yield Difference(f"network {network}", "connected", "not connected", mend)
    for network, settings in wanted.items():
        address = (settings or {}).get("ipv4_address", "")
        mend = f"docker network connect {quote_all([*(['--ip', address] if address else []), network, name])}"
        if network not in have:
            # A container whose first network was made anew refers to an id that is gone, and can be connected to nothing.
            mode = str((facts.get("HostConfig") or {}).get("NetworkMode"))
            stale = re.fullmatch("[0-9a-f]{64}", mode) and mode not in networks
            yield Difference(f"network {network}", "not connected", address or "connected", "" if stale else mend)
            continue
        fixed = ((have[network] or {}).get("IPAMConfig") or {}).get("IPv4Address", "")
        if address and fixed != address:
            yield Difference(f"address in {network}", fixed, address)


def _environment(
    definition: Mapping[str, Any], config: Mapping[str, Any], image_env: Sequence[str], secrets: Mapping[str, Secret]
) -> Iterator[Difference]:
    """Told by name only: a value may be a secret."""
    wanted = {str(key): str(value) for key, value in definition.get("environment", {}).items()}
    have = dict(variable.partition("=")[::2] for variable in config.get("Env") or ())
    hidden = set(definition.get(SECRET_VARIABLES, ()))
    given = {variable.partition("=")[0] for variable in image_env} | hidden
    for key in sorted(hidden - set(have)):
        yield Difference(f"variable {key}", "not set", "as defined")
    for key in sorted(secret for secret in secrets if secret in have and have[secret] != secrets[secret].reveal()):
        yield Difference(f"variable {key}", "another value", "as defined")
    for key in sorted(set(have) | set(wanted)):
        if key not in wanted and key not in given:
            yield Difference(f"variable {key}", "set", "not set")
        elif key in wanted and have.get(key) != wanted[key]:
            yield Difference(f"variable {key}", "another value" if key in have else "not set", "as defined")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    return json.dumps(value, sort_keys=True) if isinstance(value, Mapping) else str(value if value is not None else "")
