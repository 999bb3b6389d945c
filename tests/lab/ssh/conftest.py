"""Links to real sshds: each test has its own on a loopback port, run by whoever runs the tests."""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from converge.errors import Trouble
from converge.ssh import link as ssh
from tests.lab.ports import free_port, until, wait_for


class Sshd:
    """A private sshd, and the files of a client that may log in to it."""

    def __init__(self, folder: Path, options: str = "", key: str = "ed25519") -> None:
        self.folder, self.user = folder, getpass.getuser()
        folder.mkdir(exist_ok=True, mode=0o755)
        self.programs = folder / "bin"
        self.programs.mkdir()
        if os.getuid():
            self.program("id", "#!/bin/sh\necho 0\n")
        else:
            Path("/run/sshd").mkdir(exist_ok=True)
        self.host_key = self.keygen("host_key", key)
        self.key = self.keygen("key")
        (folder / "authorized").write_text(self.key.with_name("key.pub").read_text())
        self.known = folder / "known_hosts"
        self.port = free_port()
        self.config = folder / "sshd_config"
        self.config.write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self.host_key}\nPidFile none\nStrictModes no\n"
            f"AuthorizedKeysFile {folder / 'authorized'}\nPermitRootLogin yes\nPasswordAuthentication no\n"
            f"SetEnv PATH={self.programs}:/usr/sbin:/usr/bin:/sbin:/bin\n{options}\n"
        )
        self.know()
        command = ["/usr/sbin/sshd", "-D", "-e", "-f", self.config]
        self.process = subprocess.Popen(command, stderr=(folder / "log").open("w"))
        wait_for(self.port)
        until(lambda: not self.sessions(), "the end of the session that only knocked")

    def keygen(self, name: str, kind: str = "ed25519", phrase: str = "") -> Path:
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", phrase, "-f", self.folder / name], check=True)
        return self.folder / name

    def program(self, name: str, text: str) -> None:
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def public(self, key: Path) -> str:
        return " ".join(Path(f"{key}.pub").read_text().split()[:2])

    def know(self, text: str | None = None) -> None:
        self.known.write_text(text or f"{self.name} {self.public(self.host_key)}\n")

    @property
    def name(self) -> str:
        return f"[127.0.0.1]:{self.port}"

    def target(self, **other: Any) -> ssh.Target:
        settings = {"port": self.port, "user": self.user, "key_file": str(self.key), "known_hosts": self.known}
        return ssh.Target(**({"name": "prod", "address": "127.0.0.1", "connect_timeout": 5.0} | settings | other))

    def sessions(self) -> list[int]:
        """The processes that serve connections."""
        processes, parents = [], [self.process.pid]
        while parents:
            output = subprocess.run(["pgrep", "-P", str(parents.pop())], capture_output=True, text=True).stdout
            processes += (children := [int(line) for line in output.split()])
            parents += children
        return processes

    def stop(self) -> None:
        for session in self.sessions():
            with suppress(ProcessLookupError):
                os.kill(session, signal.SIGKILL)
        self.process.terminate()
        self.process.wait()


@pytest.fixture(autouse=True)
def ssh_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `ssh` that reads the test's own configuration, never the user's. The file may be written at any time."""
    config = tmp_path / "ssh_config"
    config.write_text("")
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    nowhere = "-o UserKnownHostsFile=none -o GlobalKnownHostsFile=none"
    program.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {config} {nowhere} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return config


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """Start an sshd: `start()`, `start("hop", "AllowTcpForwarding no")`."""
    started: list[Sshd] = []

    def begin(name: str = "sshd", options: str = "", key: str = "ed25519") -> Sshd:
        started.append(Sshd(tmp_path / name, options, key))
        return started[-1]

    yield begin
    for sshd in started:
        sshd.stop()


@pytest.fixture
def open_link() -> Iterator[Callable[[ssh.Target], ssh.Link]]:
    opened: list[ssh.Link] = []

    def connect(target: ssh.Target) -> ssh.Link:
        opened.append(ssh.connect(target))
        return opened[-1]

    yield connect
    for link in opened:
        link.close()


def refusal(target: ssh.Target) -> Trouble:
    with pytest.raises(Trouble) as caught:
        ssh.connect(target)
    return caught.value
