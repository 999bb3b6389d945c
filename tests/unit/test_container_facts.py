"""Containers compared with their definitions, property by property: a label alone is not trusted."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from converge.resources.container_facts import ELSEWHERE, KEYS, _networks, differences
from roles.edge import role as edge
from roles.minio import role as minio
from roles.postgres import role as postgres
from tests.unit.conftest import inspected

DEFINITION: dict[str, Any] = {
    "image": "silo:1",
    "container_name": "minio1",
    "hostname": "minio1",
    "command": ["server", "/data"],
    "user": "9000:9000",
    "restart": "unless-stopped",
    "read_only": True,
    "tmpfs": ["/tmp"],
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "environment": {"A": "1"},
    "ports": ["127.0.0.1:9000:9000", "[::1]:9001:9001"],
    "volumes": [
        {"type": "bind", "source": "/mnt/drive1/drive1", "target": "/data"},
        {"type": "bind", "source": "/etc/stowage/minio/secrets", "target": "/run/secrets", "read_only": True},
    ],
    "networks": {"stowage": {"ipv4_address": "172.30.99.11"}},
    "extra_hosts": ["minio2:172.30.99.12"],
    "healthcheck": {"test": ["CMD", "curl", "-f", "http://127.0.0.1"]},
}
IMAGE_ENV = ("PATH=/usr/bin", "MC_CONFIG_DIR=/tmp/.mc")


def changed(path: str, value: Any) -> dict[str, Any]:
    """The inspected container with one change."""
    facts = inspected(DEFINITION)
    facts["Config"]["Env"] += IMAGE_ENV
    *above, last = path.split(".")
    section = facts
    for step in above:
        section = section[step]
    section[last] = value(copy.deepcopy(section.get(last))) if callable(value) else value
    return facts


def test_a_container_that_is_as_compose_made_it_has_no_difference():
    assert differences(DEFINITION, changed("Unread", 1), IMAGE_ENV) == []


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("HostConfig.Privileged", True, "privileged yes -> no"),
        ("HostConfig.CapAdd", ["SYS_ADMIN"], "capabilities added SYS_ADMIN -> none"),
        ("HostConfig.CapDrop", None, "capabilities dropped none -> ALL"),
        ("HostConfig.SecurityOpt", ["label=disable"], "security options label=disable -> no-new-privileges:true"),
        ("HostConfig.ReadonlyRootfs", False, "read-only root no -> yes"),
        ("HostConfig.PidMode", "host", "shared namespaces pid host -> none"),
        ("HostConfig.IpcMode", "host", "shared namespaces ipc host -> none"),
        ("HostConfig.UTSMode", "host", "shared namespaces uts host -> none"),
        ("HostConfig.UsernsMode", "host", "shared namespaces user host -> none"),
        ("HostConfig.NetworkMode", "host", "shared namespaces network host -> none"),
        ("HostConfig.NetworkMode", "container:abc", "shared namespaces network container:abc -> none"),
        ("HostConfig.Devices", [{"PathOnHost": "/dev/sda"}], "devices /dev/sda -> none"),
        ("HostConfig.VolumesFrom", ["other"], "volumes of others other -> none"),
        ("HostConfig.GroupAdd", ["docker"], "groups docker -> none"),
        ("HostConfig.Sysctls", {"net.ipv4.ip_forward": "1"}, 'kernel settings {"net.ipv4.ip_forward": "1"} -> {}'),
        ("HostConfig.Memory", 4096, "limits Memory 4096 -> none"),
        ("HostConfig.PidsLimit", 5, "limits PidsLimit 5 -> none"),
        ("HostConfig.Dns", ["6.6.6.6"], "name servers 6.6.6.6 -> none"),
        ("HostConfig.ExtraHosts", ["minio2:6.6.6.6"], "fixed names minio2:6.6.6.6 -> minio2:172.30.99.12"),
        ("HostConfig.Tmpfs", {}, "folders in memory none -> /tmp"),
        ("HostConfig.RestartPolicy", {"Name": "no"}, "restart no -> unless-stopped"),
        ("Config.User", "", "user none -> 9000:9000"),
        ("Config.Image", "evil:1", "image evil:1 -> silo:1"),
        ("Config.Cmd", ["sleep"], "command sleep -> server, /data"),
        ("Config.Hostname", "x", "hostname x -> minio1"),
        ("Config.Healthcheck", None, "health check none -> CMD, curl, -f, http://127.0.0.1"),
        ("Config.Env", lambda env: [*env, "HTTP_PROXY=http://secret@proxy"], "variable HTTP_PROXY set -> not set"),
        ("Config.Env", lambda env: ["A=2", *env[1:]], "variable A another value -> as defined"),
        ("Config.Env", lambda env: env[1:], "variable A not set -> as defined"),
        (
            "Mounts",
            lambda mounts: [*mounts, {"Type": "bind", "Source": "/", "Destination": "/host", "RW": True}],
            "mounts / at /host -> none",
        ),
        (
            "Mounts",
            lambda mounts: [mounts[0] | {"RW": False}, mounts[1]],
            "mounts /mnt/drive1/drive1 at /data, read-only -> ",
        ),
        ("Networks", lambda networks: networks | {"bridge": None}, "network bridge connected -> not connected"),
        ("Networks", {}, "network stowage not connected -> 172.30.99.11"),
        (
            "Networks",
            {"stowage": {"IPAMConfig": {"IPv4Address": "172.30.99.66"}}},
            "address in stowage 172.30.99.66 -> 172.30.99.11",
        ),
        (
            "HostConfig.PortBindings",
            {"9000/tcp": [{"HostIp": "", "HostPort": "9000"}]},
            "ports 0.0.0.0:9000 to 9000 -> 127.0.0.1:9000 to 9000, ::1:9001 to 9001",
        ),
    ],
)
def test_what_somebody_did_to_a_container_is_seen(path, value, says):
    (difference,) = differences(DEFINITION, changed(path, value), IMAGE_ENV)
    assert str(difference).startswith(says)
    assert "secret" not in str(difference), "a value may be a secret"


def test_what_can_be_mended_while_it_runs_is_no_reason_to_make_it_anew():
    for path, value, command in (
        ("HostConfig.RestartPolicy", {"Name": "no"}, "docker update --restart=unless-stopped -- minio1"),
        ("Networks", lambda networks: networks | {"foo": None}, "docker network disconnect -f foo minio1"),
        ("Networks", {}, "docker network connect --ip 172.30.99.11 stowage minio1"),
    ):
        (difference,) = differences(DEFINITION, changed(path, value), IMAGE_ENV)
        assert difference.in_place == command


def test_a_nameless_volume_of_the_image_is_no_difference():
    nameless = {
        "Type": "volume",
        "Name": "a" * 64,
        "Source": "/var/lib/docker/volumes/x",
        "Destination": "/v",
        "RW": True,
    }
    assert not differences(DEFINITION, changed("Mounts", lambda mounts: [*mounts, nameless]), IMAGE_ENV)
    named = nameless | {"Name": "evil"}
    assert differences(DEFINITION, changed("Mounts", lambda mounts: [*mounts, named]), IMAGE_ENV)


def test_facts_that_are_not_there_are_never_taken_for_well():
    assert differences(DEFINITION, {}, ())


def test_every_key_that_a_role_writes_into_a_definition_is_compared(storage_host):
    host = storage_host()
    made = [minio.service(host, node) for node in host.settings.minio.nodes]
    made += [edge.service(host), postgres.service(host)]
    for definition in made:
        assert set(definition) <= {*KEYS, *ELSEWHERE}
        assert differences(definition, inspected(definition), ()) == []


@pytest.mark.parametrize(("mode", "in_place"), [("stowage", True), ("cd" * 32, True), ("ab" * 32, False)])
def test_a_container_whose_network_was_made_anew_is_made_anew_itself(mode, in_place):
    """It refers to a network by an id that is gone, and Docker cannot connect it to another one."""
    facts = {"HostConfig": {"NetworkMode": mode}, "Networks": {}}
    definition = {"container_name": "minio1", "networks": {"stowage": {"ipv4_address": "172.30.99.11"}}}
    (difference,) = list(_networks(definition, facts, ["cd" * 32]))
    assert bool(difference.in_place) is in_place


def test_a_capability_is_the_same_in_both_ways_of_writing_it():
    """Docker writes CHOWN or CAP_CHOWN, depending on its version; the container is not made anew for that."""
    wanted = {**DEFINITION, "cap_add": ["CHOWN", "CAP_KILL"]}
    assert differences(wanted, changed("HostConfig.CapAdd", ["CAP_CHOWN", "KILL"]), IMAGE_ENV) == []
