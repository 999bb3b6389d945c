"""Tunnels: sockets of a host that are reached through its link."""

from __future__ import annotations

import pytest

from converge.errors import Trouble
from tests.lab.ports import free_port


def test_a_tunnel_is_a_socket(start, open_link):
    sshd = start()
    tunnel = open_link(sshd.target()).tunnel("127.0.0.1", sshd.port)
    assert tunnel.recv(8) == b"SSH-2.0-"
    tunnel.close()


def test_forbidden_forwarding_is_one_clear_error(start, open_link):
    sshd = start(options="AllowTcpForwarding no")
    link = open_link(sshd.target())
    with pytest.raises(Trouble, match="forwarding is forbidden by sshd"):
        link.tunnel("127.0.0.1", sshd.port)
    assert link.alive()


def test_a_tunnel_to_nothing_is_told_from_a_forbidden_one(start, open_link):
    link = open_link(start().target())
    with pytest.raises(Trouble, match=r"nothing answers at 127\.0\.0\.1:"):
        link.tunnel("127.0.0.1", free_port())
