"""Lines that are cut or fall silent, and a program that ends at once and quietly whatever became of its line."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import paramiko
import pytest

from converge.errors import UNREACHABLE, Trouble
from converge.ssh import line as ssh_line
from converge.ssh import link as ssh
from tests.lab.relay import Relay
from tests.lab.ssh.conftest import refusal


@pytest.fixture
def relay() -> Iterator[Callable[[int], Relay]]:
    made: list[Relay] = []

    def make(port: int) -> Relay:
        made.append(Relay(port))
        return made[-1]

    yield make
    for opened in made:
        opened.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh_line, "SILENCE", 1.5)


def test_a_line_that_is_cut_is_a_trouble_for_everyone_on_it(start, open_link, relay):
    sshd = start()
    road = relay(sshd.port)
    sshd.know(f"[127.0.0.1]:{road.port} {sshd.public(sshd.host_key)}\n")
    link = open_link(sshd.target(port=road.port))
    pipe = link.shell("printf half; sleep 60")
    assert pipe.read()
    road.cut()
    with pytest.raises(Trouble, match="the connection was lost") as caught:
        pipe.readline(10)
    assert caught.value.code == UNREACHABLE
    assert pipe.exit_status() == -1
    assert not link.alive()
    with pytest.raises(Trouble):
        pipe.write(b"x")
    with pytest.raises(Trouble):
        link.shell("true")
    with pytest.raises(Trouble):
        link.tunnel("127.0.0.1", sshd.port)


def test_a_stream_on_a_line_that_falls_silent_is_given_up(start, open_link, relay, impatient):
    sshd = start()
    road = relay(sshd.port)
    sshd.know(f"[127.0.0.1]:{road.port} {sshd.public(sshd.host_key)}\n")
    link = open_link(sshd.target(port=road.port))

    def chunks():
        for n in range(10_000):
            if n == 20:
                road.freeze()
            yield bytes(100_000)

    begun = time.monotonic()
    with pytest.raises(Trouble, match="silent for"):
        link.send("cat >/dev/null", chunks())
    assert time.monotonic() - begun < 30  # a bound for hanging: to send it all would take longer than the test may


def test_an_sshd_that_stands_still_is_given_up(start, open_link, impatient):
    sshd = start()
    link = open_link(sshd.target())
    pipe = link.shell("sleep 60")
    time.sleep(0.3)
    for session in sshd.sessions():
        with suppress(ProcessLookupError):  # what had only helped to log in
            os.kill(session, signal.SIGSTOP)
    with pytest.raises(Trouble, match="silent for"):
        pipe.readline(10)


def test_a_long_silence_of_a_living_host_disturbs_nobody(start, open_link, impatient):
    link = open_link(start().target())
    pipe = link.shell("sleep 4; echo awake")
    assert pipe.readline(10) == b"awake\n"
    assert link.alive()


def test_our_own_sleep_is_not_the_hosts_silence(start, tmp_path, impatient):
    sshd = start()
    script = (
        "import sys, pathlib\nfrom converge.ssh import line, link as ssh\nline.SILENCE = 1.5\n"
        f"link = ssh.connect(ssh.Target('prod', '127.0.0.1', pathlib.Path({str(sshd.known)!r}), {sshd.port},"
        f" {sshd.user!r}, {str(sshd.key)!r}))\n"
        "pipe = link.shell('echo hi; read -r _; echo bye')\nprint(pipe.readline(5), flush=True)\n"
        "sys.stdin.readline()\npipe.write(b'\\n')\nprint(pipe.readline(5), link.alive(), flush=True)\n"
    )
    ours = subprocess.Popen(
        [sys.executable, "-c", script], stdin=-1, stdout=-1, text=True, cwd=Path(ssh.__file__).parents[2]
    )
    assert ours.stdout.readline() == "b'hi\\n'\n"
    ours.send_signal(signal.SIGSTOP)
    time.sleep(3)
    ours.send_signal(signal.SIGCONT)
    time.sleep(0.5)
    assert ours.communicate("\n", timeout=60)[0] == "b'bye\\n' True\n"


@pytest.mark.parametrize("what", ["unknown key", "other kind", "silent", "done"])
def test_the_program_ends_at_once_whatever_happened(start, what):
    sshd = start()
    port = sshd.port
    if what == "unknown key":
        sshd.know("# nothing\n")
    if what == "other kind":
        sshd.know(f"{sshd.name} {sshd.public(sshd.keygen('other', 'rsa'))}\n")
    silent = socket.create_server(("127.0.0.1", 0))
    if what == "silent":
        port = silent.getsockname()[1]
    script = (
        "import pathlib, time\nfrom converge import errors\nfrom converge.ssh import link as ssh\n"
        "begun = time.monotonic()\n"
        f"target = ssh.Target('prod', '127.0.0.1', pathlib.Path({str(sshd.known)!r}), {port},"
        f" {sshd.user!r}, {str(sshd.key)!r}, connect_timeout=2.0)\n"
        "try:\n    link = ssh.connect(target)\n    link.send('true', [])\n    link.close()\n"
        "except errors.Trouble as trouble:\n    print(trouble.what)\nprint(time.time())\n"
    )

    def ending() -> float:
        """Seconds from the last line of the program to its end."""
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=-1, text=True, cwd=Path(ssh.__file__).parents[2], check=True
        )
        return time.time() - float(done.stdout.split()[-1])

    # A busy machine may be late once; what waits for something waits every time.
    assert any(ending() < 1 for _ in range(5))


def test_paramiko_speaks_only_when_asked(start, capfd):
    refusal(start().target(key_file="/no/such/key"))
    sshd = start("other", "AllowTcpForwarding no")
    link = ssh.connect(sshd.target())
    with suppress(Trouble):
        link.tunnel("127.0.0.1", 1)
    link.close()
    assert capfd.readouterr().err == ""
    assert isinstance(link._line.wire, paramiko.Transport)
