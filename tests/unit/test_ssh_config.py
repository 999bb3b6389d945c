"""The route to a machine from the output of `ssh -G`, without a host."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from converge.errors import Trouble
from converge.ssh import config as ssh_config
from converge.ssh.config import RouteQuery, split_hop


@pytest.fixture
def ssh_says(tmp_path, monkeypatch):
    """An `ssh` program that answers `-G` with a given text."""

    def says(text: str, status: int = 0) -> None:
        program = tmp_path / "ssh"
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {status}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return says


def route(**given):
    return RouteQuery("prod", given.pop("address", "storage"), **given).answer()


def test_settings_are_what_ssh_says(ssh_says, monkeypatch):
    monkeypatch.setenv("AGENT", "/run/agent")
    ssh_says(
        "hostname 10.0.0.5\nuser admin\nport 2222\nhostkeyalias storage-1\nidentityfile ~/.ssh/%h\nidentitiesonly yes\n"
        "identityagent $AGENT\nproxyjump a@one:22,two\nconnecttimeout 7\nserveraliveinterval 5\nserveralivecountmax 2\n"
        "userknownhostsfile /home/x y/.ssh/known_hosts /tmp/%k\nglobalknownhostsfile none"
    )
    config = route()
    assert (config.host, config.user, config.port, config.known_names) == ("10.0.0.5", "admin", 2222, ("storage-1",))
    assert config.identities == (str(Path.home() / ".ssh/10.0.0.5"),)
    assert (config.only_these_identities, config.agent, config.jumps) == (True, "/run/agent", ("a@one:22", "two"))
    assert (config.timeout, config.alive_interval, config.alive_count) == (7.0, 5.0, 2)
    assert config.known_files == (Path("/home/x y/.ssh/known_hosts"), Path("/tmp/storage-1"))


def test_none_is_no_setting(ssh_says):
    ssh_says("hostname h\nuser u\nport 22\nproxyjump none\nproxycommand none\nconnecttimeout none\nidentityagent none")
    config = route()
    assert config.direct
    assert config.timeout is None


@pytest.mark.parametrize(
    ("identity_agent", "socket"),
    [("SSH_AUTH_SOCK", "/run/mine"), ("${OTHER}", "/run/other"), ("none", None), ("/run/%r", "/run/u")],
)
def test_the_agent_is_where_ssh_would_look(ssh_says, monkeypatch, identity_agent, socket):
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/mine")
    monkeypatch.setenv("OTHER", "/run/other")
    ssh_says(f"hostname h\nuser u\nport 22\nidentityagent {identity_agent}")
    assert route().agent == socket


def test_every_token_and_variable_of_a_path_is_filled_in(ssh_says, monkeypatch):
    monkeypatch.setenv("KEYS", "/keys")
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop.example.org")
    home = Path.home()
    ssh_says(
        "hostname 10.0.0.5\nuser u\nport 22\nproxyjump hop\ncontrolpath abc123\n"
        "identityfile ${KEYS}/%h_%n_%r_%p_%C_%j_%l_%L_%k_100%%\nidentityfile none\nidentityfile ~/%d_%i\n"
        "certificatefile ${KEYS}/%h.pub\ncertificatefile none\n"
        "userknownhostsfile ${KEYS}/%k ${KEYS}/%n\nglobalknownhostsfile none\nidentityagent ${KEYS}/%h"
    )
    config = route()
    first = "/keys/10.0.0.5_storage_u_22_abc123_hop_laptop.example.org_laptop_storage_100%"
    assert config.identities == (first, f"{home}/{home}_{os.getuid()}".replace("//", "/"))
    assert config.certificates == ("/keys/10.0.0.5.pub",)
    assert config.known_files == (Path("/keys/storage"), Path("/keys/storage"))
    assert config.agent == "/keys/10.0.0.5"


def test_a_variable_that_is_not_set_is_named(ssh_says, monkeypatch):
    monkeypatch.delenv("NOWHERE", raising=False)
    ssh_says("hostname h\nuser u\nport 22\nidentityfile ${NOWHERE}/key")
    with pytest.raises(Trouble, match="the variable NOWHERE is not set") as caught:
        route()
    assert caught.value.hint == "export NOWHERE=..."


def test_the_hash_of_a_connection_is_that_of_ssh_itself():
    """The input of the hash depends on the version of OpenSSH; only `ssh -G` knows it."""
    asked = subprocess.run(["ssh", "-G", "-o", "ControlPath=%C", "storage"], capture_output=True, text=True, check=True)
    line = next(text for text in asked.stdout.splitlines() if text.startswith("controlpath "))
    assert len(line.split()[1]) == 40


def test_an_ssh_that_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(ssh_config, "_PATIENCE", 0.2)
    (tmp_path / "ssh").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Trouble, match="did not end within"):
        route()


def test_the_words_of_a_proxy_command_are_filled_in(ssh_says):
    ssh_says("hostname 10.0.0.5\nuser admin\nport 2222\nproxycommand reach %n %r@%h:%p 100%%")
    assert route().proxy_command == "reach storage admin@10.0.0.5:2222 100%"


def test_a_given_port_and_user_win():
    config = route(port=2201, user="operator")
    assert (config.port, config.user) == (2201, "operator")


def test_a_broken_ssh_configuration_is_said(ssh_says):
    ssh_says("", status=255)
    with pytest.raises(Trouble, match="your ssh configuration cannot be read"):
        route()


def test_without_an_ssh_program_the_inventory_is_enough(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    config = route(address="10.0.0.9", port=2201, user="root")
    assert (config.host, config.port, config.user) == ("10.0.0.9", 2201, "root")
    assert config.known_files[0] == Path.home() / ".ssh/known_hosts"


def test_an_address_is_never_an_option():
    with pytest.raises(Trouble, match="is not an address"):
        route(address="-oProxyCommand=touch /tmp/x")


@pytest.mark.parametrize(
    ("hop", "parts"),
    [
        ("one", ("one", None, None)),
        ("a@one:2222", ("one", 2222, "a")),
        ("a@b@one", ("one", None, "a@b")),
        ("[fe80::1]:22", ("fe80::1", 22, None)),
        ("fe80::1", ("fe80::1", None, None)),
        ("ssh://a@one:22", ("one", 22, "a")),
    ],
)
def test_a_hop_is_user_host_and_port(hop, parts):
    assert split_hop(hop) == parts


def test_the_settings_of_ssh_are_read_from_a_real_ssh():
    assert RouteQuery("x", "example.invalid").answer().host == "example.invalid"
