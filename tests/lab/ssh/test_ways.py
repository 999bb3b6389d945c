"""The ways to a host: hops, commands of a proxy, and ways that lead nowhere."""

from __future__ import annotations

import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from converge.errors import UNREACHABLE, Trouble
from converge.ssh import link as ssh
from tests.lab.ports import free_port
from tests.lab.ssh.conftest import Sshd, refusal

PROXY = (
    "import os,socket,sys,threading as t; s=socket.create_connection((sys.argv[1], sys.argv[2]));"
    "t.Thread(target=lambda: [s.sendall(b) for b in iter(lambda: os.read(0, 65536), b'')], daemon=True).start();"
    "[os.write(1, b) for b in iter(lambda: s.recv(65536), b'')]"
)


def both_known(*sshds: Sshd) -> None:
    text = "".join(f"{sshd.name} {sshd.public(sshd.host_key)}\n" for sshd in sshds)
    for sshd in sshds:
        sshd.know(text)


def through_hop(ssh_config: Path, sshd: Sshd, hop: Sshd) -> None:
    condition = f'Match host 127.0.0.1 exec "test %p = {sshd.port}"'
    ssh_config.write_text(f"{condition}\n ProxyJump 127.0.0.1:{hop.port}\nMatch all\nIdentityFile {hop.key}\n")


@pytest.mark.parametrize("hops", [1, 2])
def test_a_host_behind_hops_is_reached(start, open_link, ssh_config, hops):
    before = [start(f"hop{n}") for n in range(hops)]
    sshd = start()
    both_known(sshd, *before)
    jumps = ",".join(f"{hop.user}@127.0.0.1:{hop.port}" for hop in before)
    keys = "".join(f"IdentityFile {hop.key}\n" for hop in before)
    ssh_config.write_text(f'Match host 127.0.0.1 exec "test %p = {sshd.port}"\n ProxyJump {jumps}\nMatch all\n{keys}')
    link = open_link(sshd.target())
    assert link.send("wc -c", [bytes(3_000_000)])[1] == b"3000000\n"
    assert all("Accepted publickey" in (hop.folder / "log").read_text() for hop in before)


def test_the_key_of_a_hop_is_checked_as_well(start, ssh_config):
    hop, sshd = start("hop"), start()
    through_hop(ssh_config, sshd, hop)
    trouble = refusal(sshd.target())
    assert trouble.what == "its host key is not known"
    assert trouble.where == "prod (hop 127.0.0.1)"


def test_a_hop_that_forbids_forwarding_is_said(start, ssh_config):
    hop, sshd = start("hop", "AllowTcpForwarding no"), start()
    both_known(hop, sshd)
    through_hop(ssh_config, sshd, hop)
    trouble = refusal(sshd.target())
    assert (trouble.code, trouble.what) == (UNREACHABLE, "forwarding is forbidden by sshd")
    assert trouble.where == "prod (hop 127.0.0.1)"


def test_hops_in_a_circle_are_said(start, ssh_config):
    sshd = start()
    ssh_config.write_text("Host a\n ProxyJump b\nHost b\n ProxyJump a\n")
    assert refusal(sshd.target(address="a", port=None)).what == "its way leads through too many hops"


def test_a_hop_for_every_host_is_not_its_own(start, open_link, ssh_config):
    hop, sshd = start("hop"), start()
    both_known(hop, sshd)
    ssh_config.write_text(
        f"Host hop\n HostName 127.0.0.1\n Port {hop.port}\n IdentityFile {hop.key}\nHost *\n ProxyJump hop\n"
    )
    assert open_link(sshd.target()).alive()


def test_a_proxy_command_is_a_way(start, open_link, ssh_config):
    sshd = start()
    program = f'{sys.executable} -c "{PROXY}" %h %p'
    ssh_config.write_text(f"ProxyCommand {program}\n")
    link = open_link(sshd.target())
    assert link.send("wc -c", [bytes(3_000_000)])[1] == b"3000000\n"
    process = link._line.socket.process
    link.close()
    assert process.poll() is not None


def test_what_a_proxy_command_complains_of_is_shown(start, ssh_config):
    ssh_config.write_text("ProxyCommand echo 'no tunnel today' >&2; exit 1\n")
    trouble = refusal(start().target())
    assert trouble.code == UNREACHABLE
    assert "no tunnel today" in trouble.why


def test_nobody_listens(start):
    trouble = refusal(start().target(port=free_port()))
    assert (trouble.code, trouble.why) == (UNREACHABLE, "Connection refused")


@pytest.mark.parametrize("daemon", [False, True], ids=["by the program", "by a daemon, as status does"])
def test_what_is_being_loaded_is_waited_for_at_the_end(tmp_path, monkeypatch, daemon):
    """A program that ends in the middle of it is aborted by Python."""
    loaded = threading.Event()
    monkeypatch.setattr("converge.ssh.link.importlib.import_module", lambda name: loaded.wait(10))
    before = {*threading.enumerate()}

    def ask() -> None:
        with suppress(Trouble):
            ssh.connect(ssh.Target("prod", "127.0.0.1", tmp_path / "known", free_port()))

    asking = threading.Thread(target=ask, daemon=daemon)
    asking.start()
    asking.join()
    waited_for = [thread for thread in {*threading.enumerate()} - before if not thread.daemon]
    loaded.set()
    assert waited_for


def test_a_name_without_an_address(start):
    assert "no address is known for nowhere.invalid" in refusal(start().target(address="nowhere.invalid")).what


def test_something_that_is_not_sshd_is_given_up_in_time(start):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = start().target(port=silent.getsockname()[1], connect_timeout=1.0)
        begun = time.monotonic()
        trouble = refusal(target)
    assert trouble.code == UNREACHABLE
    assert time.monotonic() - begun < 4.5  # less than it would be given by itself
