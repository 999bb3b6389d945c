"""Links to real sshds: each test has its own on a loopback port, run by whoever runs the tests."""

from __future__ import annotations

import dataclasses
import getpass
import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import paramiko
import pytest
import yaml

from converge import ssh, ssh_line
from converge.errors import REFUSED, UNREACHABLE, Trouble
from converge.secret import Secret
from converge.ssh_root import Rise

SUDO = """#!/bin/sh
# A stand-in that asks, refuses and starts commands as sudo does (measured with sudo 1.9 and its PAM).
here=$(dirname "$0") ask= prompt=
[ "$1" = -n ] && shift
[ "$1" = -k ] && { ask=1; prompt=$4; shift 4; }
shift
case $(cat "$here/mode") in
free) exec "$@" ;;
noisy) [ "$ask" ] && printf 'the usual lecture\\n%s' "$prompt" >&2; cat >/dev/null ;;
password)
  [ "$ask" ] || { echo 'sudo: a password is required' >&2; exit 1; }
  for attempt in 1 2 3; do
    printf %s "$prompt" >&2
    IFS= read -r given || exit 1
    echo "$given" >>"$here/attempts"
    [ "$given" = 'right \\ $one' ] && exec "$@"
    echo 'Sorry, try again.' >&2
  done
  exit 1 ;;
esac
"""


class Sshd:
    """A private sshd, and the files of a client that may log in to it."""

    def __init__(self, folder: Path, options: str = "", key: str = "ed25519") -> None:
        self.folder, self.user = folder, getpass.getuser()
        folder.mkdir(exist_ok=True, mode=0o755)
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.program("sudo", SUDO)
        if os.getuid():
            self.program("id", "#!/bin/sh\necho 0\n")
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
        Path("/run/sshd").mkdir(exist_ok=True) if not os.getuid() else None
        command = ["/usr/sbin/sshd", "-D", "-e", "-f", self.config]
        self.process = subprocess.Popen(command, stderr=(folder / "log").open("w"))
        wait_for(self.port)

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

    def target(self, **other) -> ssh.Target:
        settings = {"port": self.port, "user": self.user, "key_file": str(self.key), "known_hosts": self.known}
        return ssh.Target(**({"name": "prod", "address": "127.0.0.1", "connect_timeout": 5.0} | settings | other))

    def sessions(self) -> list[int]:
        """The processes that serve connections."""
        found, parents = [], [self.process.pid]
        while parents:
            said = subprocess.run(["pgrep", "-P", str(parents.pop())], capture_output=True, text=True).stdout
            found += (children := [int(one) for one in said.split()])
            parents += children
        return found

    def stop(self) -> None:
        for one in self.sessions():
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        self.process.terminate()
        self.process.wait()


class Relay:
    """A TCP connection through us, which can fall silent or be cut."""

    def __init__(self, port: int) -> None:
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port, self._to = self._door.getsockname()[1], port
        self._flowing = threading.Event()
        self._flowing.set()
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near = self._door.accept()[0]
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self._to))
            self._ends += [near, far]
            threading.Thread(target=self._pump, args=(near, far), daemon=True).start()
            threading.Thread(target=self._pump, args=(far, near), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                sink.sendall(data)

    def freeze(self) -> None:
        self._flowing.clear()

    def cut(self) -> None:
        for one in self._ends:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def close(self) -> None:
        self._door.close()
        self.cut()
        self._flowing.set()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return door.getsockname()[1]


def wait_for(port: int) -> None:
    for _ in range(200):
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.02)
    raise AssertionError(f"nothing listens on {port}")


@pytest.fixture(autouse=True)
def ssh_config(tmp_path, monkeypatch):
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
def start(tmp_path):
    """Start an sshd: `start()`, `start("hop", "AllowTcpForwarding no")`."""
    started = []

    def begin(name: str = "sshd", options: str = "", key: str = "ed25519") -> Sshd:
        started.append(Sshd(tmp_path / name, options, key))
        return started[-1]

    yield begin
    for one in started:
        one.stop()


@pytest.fixture
def open_link():
    opened = []

    def connect(target: ssh.Target) -> ssh.Link:
        opened.append(ssh.connect(target))
        return opened[-1]

    yield connect
    for one in opened:
        one.close()


@pytest.fixture
def relay():
    made = []

    def make(port: int) -> Relay:
        made.append(Relay(port))
        return made[-1]

    yield make
    for one in made:
        one.close()


def refusal(target: ssh.Target) -> Trouble:
    with pytest.raises(Trouble) as caught:
        ssh.connect(target)
    return caught.value


# --- commands ---------------------------------------------------------------------------------------------------------


def test_a_shell_reads_and_answers(start, open_link):
    pipe = open_link(start().target()).shell('read -r word; echo "got $word"; echo oops >&2; head -c 3; exit 3')
    pipe.write(b"it\nabcdef")
    assert pipe.readline(5) == b"got it\n"
    assert pipe.read_exactly(3) == b"abc"
    assert pipe.readline(5) == b""
    assert pipe.exit_status() == 3
    assert pipe.stderr_tail() == "oops\n"


def test_a_line_that_does_not_come_in_time_is_not_lost(start, open_link):
    pipe = open_link(start().target()).shell("printf 'ha'; read -r _; echo lf")
    with pytest.raises(TimeoutError):
        pipe.readline(0.3)
    pipe.write(b"\n")
    assert pipe.readline(5) == b"half\n"


def test_what_a_login_shell_prints_first_is_not_ours(start, open_link):
    force = 'ForceCommand echo "welcome to prod"; eval "$SSH_ORIGINAL_COMMAND"'
    pipe = open_link(start(options=force).target()).shell("echo mine")
    assert pipe.readline(5) == b"mine\n"


def test_an_account_without_a_shell_is_said(start, open_link):
    force = "ForceCommand echo This account is currently not available. >&2; exit 1"
    pipe = open_link(start(options=force).target()).shell("echo mine")
    with pytest.raises(Trouble, match=r"gets no shell there\n *This account is currently not available"):
        pipe.readline(5)


def test_what_a_refusing_account_prints_is_shown(start, open_link):
    """As cloud images refuse root."""
    force = "ForceCommand echo 'Please login as the user ubuntu rather than root.'; exit 142"
    pipe = open_link(start(options=force).target()).shell("echo mine")
    with pytest.raises(Trouble, match="Please login as the user ubuntu"):
        pipe.readline(5)


def test_a_signal_is_told_from_a_lost_line(start, open_link):
    link = open_link(start().target())
    assert link.shell("kill -9 $$").exit_status() == 137
    assert link.alive()


def test_writing_to_a_command_that_has_ended_is_a_broken_pipe(start, open_link):
    pipe = open_link(start().target()).shell("exit 0")
    pipe.exit_status()
    time.sleep(0.1)
    with pytest.raises(BrokenPipeError):
        pipe.write(b"more")


def test_writing_after_the_end_of_stdin_is_a_broken_pipe(start, open_link):
    pipe = open_link(start().target()).shell("sleep 10")
    pipe.close_stdin()
    with pytest.raises(BrokenPipeError):
        pipe.write(b"more")


def test_a_stream_arrives_whole(start, open_link):
    data, heard = os.urandom(1_000_000), []
    status, out, err = open_link(start().target()).send("sha256sum; echo done >&2", [data] * 20, heard.append)
    assert (status, err) == (0, b"done\n")
    assert out.split()[0].decode() == hashlib.sha256(data * 20).hexdigest()
    assert sum(heard) == 20_000_000


def test_a_command_that_wants_no_more_ends_the_stream(start, open_link):
    link = open_link(start().target())
    status, _, err = link.send("head -c 10 >/dev/null; echo full >&2; exit 5", [bytes(100_000)] * 1000)
    assert (status, err) == (5, b"full\n")


def test_much_on_both_outputs_stops_nobody(start, open_link):
    command = "head -c 9000000 /dev/zero >&2; head -c 9000000 /dev/zero; cat >/dev/null; echo end; echo end >&2"
    status, out, err = open_link(start().target()).send(command, [bytes(1_000_000)] * 9)
    assert status == 0
    assert out.endswith(b"\0end\n")
    assert err.endswith(b"\0end\n")
    assert len(out) == len(err) == 65536


def test_sshds_own_rekeys_are_followed(start, open_link):
    link = open_link(start(options="RekeyLimit 1M").target())
    status, out, _ = link.send("cat | wc -c; head -c 20000000 /dev/zero", [bytes(1_000_000)] * 20)
    assert (status, len(out)) == (0, 65536)
    assert link.send("cat", [b"still here"])[1] == b"still here"


def test_the_ninth_session_waits_for_one_of_eight(start, open_link):
    link = open_link(start().target())
    eight = [link.shell("read -r _") for _ in range(8)]
    ninth = threading.Thread(target=link.send, args=("true", []))
    ninth.start()
    ninth.join(0.5)
    assert ninth.is_alive()
    eight[0].write(b"\n")
    ninth.join(5)
    assert not ninth.is_alive()


def test_many_threads_share_a_link(start, open_link):
    link, seen = open_link(start().target()), []
    workers = [
        threading.Thread(target=lambda n=n: seen.append(link.send("cat", [b"%d" % n])[1] == b"%d" % n))
        for n in range(24)
    ]
    [one.start() for one in workers]
    [one.join(20) for one in workers]
    assert seen == [True] * 24


def test_fabric_runs_on_the_same_connection(start, open_link):
    link = open_link(start().target())
    assert link.fabric().run("echo hello", hide=True, in_stream=False).stdout == "hello\n"


# --- root -------------------------------------------------------------------------------------------------------------


def as_operator(link: ssh.Link, sshd: Sshd, mode: str, password: str | None) -> ssh.Link:
    """The same link as for a user who is not root: an sshd of one's own lets in nobody else."""
    (sshd.programs / "mode").write_text(mode)
    link._rise = Rise("operator", True, password is not None)
    link.target = dataclasses.replace(link.target, become_password=Secret(password) if password else None)
    return link


@pytest.mark.parametrize("password", [None, "right \\ $one"])
def test_sudo_that_asks_for_nothing(start, open_link, password):
    sshd = start()
    link = as_operator(open_link(sshd.target()), sshd, "free", password)
    assert link.send("cat", [b"all of it\n"]) == (0, b"all of it\n", b"")


def test_sudo_with_a_password(start, open_link):
    sshd = start()
    link = as_operator(open_link(sshd.target()), sshd, "password", "right \\ $one")
    assert link.send("cat; echo fine >&2", [b"all of it\n"]) == (0, b"all of it\n", b"fine\n")


def test_a_wrong_password_is_given_once_and_nothing_follows_it(start, open_link):
    sshd = start()
    link = as_operator(open_link(sshd.target()), sshd, "password", "wrong")
    with pytest.raises(Trouble) as caught:
        link.send("cat", [b"not a password\n"] * 3)
    assert caught.value.what == "sudo refused the password of operator"
    assert "ansible_become_password" in caught.value.hint
    assert (sshd.programs / "attempts").read_text() == "wrong\n"
    assert "wrong" not in str(caught.value)


def test_a_password_that_is_missing_is_said(start, open_link):
    sshd = start()
    link = as_operator(open_link(sshd.target()), sshd, "password", None)
    with pytest.raises(Trouble, match="sudo wants a password of operator"):
        link.send("cat", [b"data"])


def test_a_sudo_that_asks_in_its_own_words_does_not_hold_us_for_ever(start, open_link, monkeypatch):
    from converge import ssh_pipe

    monkeypatch.setattr(ssh_pipe, "_PATIENCE", 0.5)
    sshd = start()
    link = as_operator(open_link(sshd.target()), sshd, "noisy", "right")
    with pytest.raises(Trouble, match="the usual lecture"):
        link.shell("cat")


def test_no_password_stands_in_a_command_line(start, open_link):
    sshd = start()
    link = as_operator(open_link(sshd.target()), sshd, "password", "right \\ $one")
    pipe = link.shell("read -r _")
    lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if readable(path)]
    assert not any(b"$one" in one and b"sudo" in one for one in lines)
    pipe.close()


def readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def operator(clone):
    """The administrator of the lab host, whom its real sudo asks for a password."""
    inventory = clone.root / "inventory"
    settings = yaml.safe_load((inventory / "host_vars/lab.yml").read_text())
    return ssh.Target(
        "lab",
        settings["ansible_host"],
        inventory / "known_hosts",
        settings["ansible_port"],
        "operator",
        settings["ansible_ssh_private_key_file"],
        become_password=Secret((inventory / "secrets/lab/sudo_password").read_text().strip()),
    )


def test_a_real_sudo_takes_the_password(open_link, operator):
    assert open_link(operator).send("id -u; cat", [b"all of it\n"]) == (0, b"0\nall of it\n", b"")


@pytest.mark.parametrize(
    ("password", "what"),
    [(Secret("wrong"), "sudo refused the password of operator"), (None, "sudo wants a password of operator")],
)
def test_a_real_sudo_refuses(open_link, operator, password, what):
    link = open_link(dataclasses.replace(operator, become_password=password))
    with pytest.raises(Trouble, match=what):
        link.send("cat", [b"not a password\n"] * 3)


# --- host keys --------------------------------------------------------------------------------------------------------


def test_an_unknown_key_is_refused_and_can_be_trusted(start, open_link):
    sshd = start()
    sshd.know("# nothing\n")
    trouble = refusal(sshd.target())
    assert (trouble.code, trouble.what) == (REFUSED, "its host key is not known")
    assert trouble.hint == "inv host.trust prod"
    kind, text, fingerprint = ssh.host_key(sshd.target())
    assert fingerprint in trouble.why
    sshd.know(f"{ssh.known_name(sshd.target())} {kind} {text}\n")
    assert open_link(sshd.target()).alive()


def test_a_changed_key_is_refused_with_both_fingerprints(start):
    sshd = start()
    other = sshd.keygen("other")
    sshd.know(f"{sshd.name} {sshd.public(other)}\n")
    trouble = refusal(sshd.target())
    assert trouble.code == REFUSED
    for key in (other, sshd.host_key):
        said = subprocess.run(["ssh-keygen", "-lf", f"{key}.pub"], capture_output=True, text=True).stdout
        assert said.split()[1] in trouble.why
    assert "nothing was sent" in trouble.untouched
    assert "Accepted" not in (sshd.folder / "log").read_text()


def test_a_key_of_another_kind_than_known_is_a_changed_key(start):
    sshd = start()
    sshd.know(f"{sshd.name} {sshd.public(sshd.keygen('other', 'rsa'))}\n")
    trouble = refusal(sshd.target())
    assert trouble.what == "its host key has changed"
    assert "ssh-rsa SHA256:" in trouble.why
    assert ssh.host_key(sshd.target())[2] in trouble.why


def test_the_known_one_of_several_host_keys_is_asked_for(start, open_link, tmp_path):
    second = tmp_path / "second"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", second], check=True)
    assert open_link(start(options=f"HostKey {second}", key="rsa").target()).alive()


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_keys_of_every_kind_will_do(start, open_link, kind):
    sshd = start(key=kind)
    key = sshd.keygen("other", kind)
    (sshd.folder / "authorized").write_text(sshd.public(key) + "\n")
    assert open_link(sshd.target(key_file=str(key))).alive()


def test_a_revoked_key_is_refused_even_where_it_is_known(start):
    sshd = start()
    sshd.know(f"{sshd.name} {sshd.public(sshd.host_key)}\n@revoked * {sshd.public(sshd.host_key)}\n")
    assert refusal(sshd.target()).what == "its host key is revoked"


@pytest.mark.parametrize(("names", "accepted"), [("127.0.0.1", True), ("other.example", False)])
def test_a_known_authority_vouches_for_the_host_it_names(start, open_link, tmp_path, names, accepted):
    certificate = tmp_path / "sshd" / "host_key-cert.pub"
    sshd = start(options=f"HostCertificate {certificate}")
    authority = sshd.keygen("authority")
    sign = ["ssh-keygen", "-q", "-s", authority, "-h", "-I", "prod", "-n", names, "-V", "+1h", f"{sshd.host_key}.pub"]
    subprocess.run(sign, check=True)
    sshd.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    wait_for(sshd.port)
    sshd.know(f"@cert-authority * {sshd.public(authority)}\n")
    if accepted:
        assert open_link(sshd.target()).alive()
    else:
        assert refusal(sshd.target()).what == "its host key is not known"


def test_an_alias_of_ssh_config_brings_its_settings(start, open_link, ssh_config):
    sshd = start()
    ssh_config.write_text(
        f"Host prod-1\n HostName 127.0.0.1\n Port {sshd.port}\n User {sshd.user}\n IdentityFile {sshd.key}\n"
        " HostKeyAlias the-host\n"
    )
    sshd.know(f"the-host {sshd.public(sshd.host_key)}\n")
    assert open_link(sshd.target(address="prod-1", port=None, user=None, key_file=None)).send("id -u", [])[1] == b"0\n"


# --- logging in -------------------------------------------------------------------------------------------------------


@pytest.fixture
def agent(tmp_path):
    path = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    while not path.exists():
        time.sleep(0.01)
    yield path
    process.terminate()
    process.wait()


def add(agent: Path, key: Path) -> None:
    subprocess.run(["ssh-add", "-q", key], env={**os.environ, "SSH_AUTH_SOCK": str(agent)}, check=True)


def test_a_key_that_the_host_does_not_take_is_named(start):
    sshd = start()
    trouble = refusal(sshd.target(key_file=str(sshd.host_key)))
    assert (trouble.code, trouble.what) == (UNREACHABLE, f"it does not let {sshd.user} in")
    assert str(sshd.host_key) in trouble.why


def test_a_key_file_that_does_not_exist_is_named(start):
    assert "/no/such/key does not exist" in refusal(start().target(key_file="/no/such/key")).what


def test_a_locked_key_without_an_agent_is_said(start):
    sshd = start()
    locked = sshd.keygen("locked", phrase="a phrase")
    trouble = refusal(sshd.target(key_file=str(locked)))
    assert "passphrase" in trouble.why
    assert trouble.hint == f"ssh-add {locked}"


def test_a_locked_key_that_an_agent_holds_is_used(start, open_link, agent, ssh_config, tmp_path):
    sshd = start()
    add(agent, sshd.key)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "a phrase", "-f", sshd.key], check=True, capture_output=True)
    ssh_config.write_text(f"IdentityAgent {agent}\nIdentitiesOnly yes\n")
    assert open_link(sshd.target()).alive()


def test_the_key_of_an_agent_is_found_by_itself(start, open_link, agent, monkeypatch):
    sshd = start()
    add(agent, sshd.host_key)
    add(agent, sshd.key)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
    assert open_link(sshd.target(key_file=None)).alive()


def test_identities_only_leaves_strange_keys_of_the_agent_alone(start, agent, ssh_config):
    sshd = start()
    add(agent, sshd.key)
    ssh_config.write_text(f"IdentityAgent {agent}\nIdentitiesOnly yes\nIdentityFile /no/such/key\n")
    assert "there is no key" in refusal(sshd.target(key_file=None)).why


def test_a_certificate_beside_a_key_is_shown(start, open_link, tmp_path):
    sshd = start(options=f"TrustedUserCAKeys {tmp_path}/sshd/ca.pub")
    ca, key = sshd.keygen("ca"), sshd.keygen("certified")
    subprocess.run(["ssh-keygen", "-q", "-s", ca, "-I", "me", "-n", sshd.user, "-V", "+1h", f"{key}.pub"], check=True)
    assert open_link(sshd.target(key_file=str(key))).alive()


def test_a_host_that_ends_the_login_is_said(start):
    sshd = start(options="MaxAuthTries 1")
    assert "too many keys?" in refusal(sshd.target(key_file=str(sshd.host_key))).why


def test_a_host_that_wants_more_than_a_key_is_said(start):
    sshd = start(options="AuthenticationMethods publickey,publickey")
    assert refusal(sshd.target()).what == f"a key is not enough for {sshd.user}"


def test_a_host_that_takes_no_keys_is_said(start):
    sshd = start(options="PubkeyAuthentication no")
    trouble = refusal(sshd.target())
    assert trouble.what == f"it takes no keys from {sshd.user}"
    assert "PubkeyAuthentication yes" in trouble.hint


# --- ways -------------------------------------------------------------------------------------------------------------


def both_known(*sshds: Sshd) -> None:
    text = "".join(f"{one.name} {one.public(one.host_key)}\n" for one in sshds)
    for one in sshds:
        one.know(text)


@pytest.mark.parametrize("hops", [1, 2])
def test_a_host_behind_hops_is_reached(start, open_link, ssh_config, hops):
    before = [start(f"hop{n}") for n in range(hops)]
    sshd = start()
    both_known(sshd, *before)
    jumps = ",".join(f"{one.user}@127.0.0.1:{one.port}" for one in before)
    keys = "".join(f"IdentityFile {one.key}\n" for one in before)
    ssh_config.write_text(f'Match host 127.0.0.1 exec "test %p = {sshd.port}"\n ProxyJump {jumps}\nMatch all\n{keys}')
    link = open_link(sshd.target())
    assert link.send("wc -c", [bytes(3_000_000)])[1] == b"3000000\n"
    assert all("Accepted publickey" in (one.folder / "log").read_text() for one in before)


def through_hop(ssh_config: Path, sshd: Sshd, hop: Sshd) -> None:
    condition = f'Match host 127.0.0.1 exec "test %p = {sshd.port}"'
    ssh_config.write_text(f"{condition}\n ProxyJump 127.0.0.1:{hop.port}\nMatch all\nIdentityFile {hop.key}\n")


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
    process = link._line.reached.process
    link.close()
    assert process.poll() is not None


PROXY = (
    "import os,socket,sys,threading as t; s=socket.create_connection((sys.argv[1], sys.argv[2]));"
    "t.Thread(target=lambda: [s.sendall(b) for b in iter(lambda: os.read(0, 65536), b'')], daemon=True).start();"
    "[os.write(1, b) for b in iter(lambda: s.recv(65536), b'')]"
)


def test_what_a_proxy_command_complains_of_is_shown(start, ssh_config):
    ssh_config.write_text("ProxyCommand echo 'no tunnel today' >&2; exit 1\n")
    trouble = refusal(start().target())
    assert trouble.code == UNREACHABLE
    assert "no tunnel today" in trouble.why


def test_nobody_listens(start):
    trouble = refusal(start().target(port=free_port()))
    assert (trouble.code, trouble.why) == (UNREACHABLE, "Connection refused")


def test_what_is_being_loaded_is_waited_for_at_the_end(tmp_path, monkeypatch):
    loaded = threading.Event()
    monkeypatch.setattr("converge.ssh.importlib.import_module", lambda name: loaded.wait(10))
    before = {*threading.enumerate()}
    with pytest.raises(Trouble):
        ssh.connect(ssh.Target("prod", "127.0.0.1", tmp_path / "known", free_port()))
    waited_for = [one for one in {*threading.enumerate()} - before if not one.daemon]
    loaded.set()
    assert waited_for


def test_a_name_without_an_address(start):
    assert "no address is known for nowhere.invalid" in refusal(start().target(address="nowhere.invalid")).what


def test_something_that_is_not_sshd_is_given_up_in_time(start):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        trouble = refusal(start().target(port=silent.getsockname()[1], connect_timeout=1.0))
    assert trouble.code == UNREACHABLE
    assert time.monotonic() - begun < 3


# --- tunnels ----------------------------------------------------------------------------------------------------------


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


# --- lost lines -------------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(ssh_line, "SILENCE", 1.5)


def test_a_line_that_is_cut_is_a_trouble_for_everyone_on_it(start, open_link, relay):
    sshd = start()
    road = relay(sshd.port)
    sshd.know(f"[127.0.0.1]:{road.port} {sshd.public(sshd.host_key)}\n")
    link = open_link(sshd.target(port=road.port))
    pipe = link.shell("printf half; sleep 60")
    assert pipe.read_exactly(2) == b"ha"
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
    assert time.monotonic() - begun < 5


def test_an_sshd_that_stands_still_is_given_up(start, open_link, impatient):
    sshd = start()
    link = open_link(sshd.target())
    pipe = link.shell("sleep 60")
    time.sleep(0.3)
    for one in sshd.sessions():
        with suppress(ProcessLookupError):  # what had only helped to log in
            os.kill(one, signal.SIGSTOP)
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
        "import sys, pathlib\nfrom converge import ssh, ssh_line\nssh_line.SILENCE = 1.5\n"
        f"link = ssh.connect(ssh.Target('prod', '127.0.0.1', pathlib.Path({str(sshd.known)!r}), {sshd.port},"
        f" {sshd.user!r}, {str(sshd.key)!r}))\n"
        "pipe = link.shell('echo hi; read -r _; echo bye')\nprint(pipe.readline(5), flush=True)\n"
        "sys.stdin.readline()\npipe.write(b'\\n')\nprint(pipe.readline(5), link.alive(), flush=True)\n"
    )
    ours = subprocess.Popen(
        [sys.executable, "-c", script], stdin=-1, stdout=-1, text=True, cwd=Path(ssh.__file__).parents[1]
    )
    assert ours.stdout.readline() == "b'hi\\n'\n"
    ours.send_signal(signal.SIGSTOP)
    time.sleep(3)
    ours.send_signal(signal.SIGCONT)
    time.sleep(0.5)
    assert ours.communicate("\n", timeout=10)[0] == "b'bye\\n' True\n"


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
        "import pathlib, time\nfrom converge import ssh, errors\n"
        "begun = time.monotonic()\n"
        f"target = ssh.Target('prod', '127.0.0.1', pathlib.Path({str(sshd.known)!r}), {port},"
        f" {sshd.user!r}, {str(sshd.key)!r}, connect_timeout=2.0)\n"
        "try:\n    link = ssh.connect(target)\n    link.send('true', [])\n    link.close()\n"
        "except errors.Trouble as trouble:\n    print(trouble.what)\nprint(time.time())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], stdout=-1, text=True, cwd=Path(ssh.__file__).parents[1], check=True
    )
    assert time.time() - float(done.stdout.split()[-1]) < 1


def test_paramiko_speaks_only_when_asked(start, capfd):
    refusal(start().target(key_file="/no/such/key"))
    sshd = start("other", "AllowTcpForwarding no")
    link = ssh.connect(sshd.target())
    with suppress(Trouble):
        link.tunnel("127.0.0.1", 1)
    link.close()
    assert capfd.readouterr().err == ""
    assert isinstance(link._line.wire, paramiko.Transport)
