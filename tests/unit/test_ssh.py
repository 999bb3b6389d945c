"""What is decided without a host: settings, known keys, the way to root; and what we take for granted of Paramiko."""

from __future__ import annotations

import base64
import inspect
import os
import shutil
import subprocess
from pathlib import Path

import paramiko
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from converge import known, ssh_config, ssh_root, ssh_wire
from converge.errors import Trouble
from converge.known import HostKey
from converge.ssh_config import Question, split_hop
from converge.ssh_root import Rise

KEY = HostKey("ssh-ed25519", base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)).decode())
OTHER = HostKey("ssh-ed25519", base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes([1]) * 32).decode())


@pytest.fixture
def ssh_says(tmp_path, monkeypatch):
    """An `ssh` program that answers `-G` with a given text."""

    def says(text: str, status: int = 0) -> None:
        program = tmp_path / "ssh"
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}\nEND\nexit {status}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return says


def way(**given):
    return Question("prod", given.pop("address", "storage"), **given).answer()


# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_are_what_ssh_says(ssh_says, monkeypatch):
    monkeypatch.setenv("AGENT", "/run/agent")
    ssh_says(
        "hostname 10.0.0.5\nuser admin\nport 2222\nhostkeyalias storage-1\nidentityfile ~/.ssh/%h\nidentitiesonly yes\n"
        "identityagent $AGENT\nproxyjump a@one:22,two\nconnecttimeout 7\nserveraliveinterval 5\nserveralivecountmax 2\n"
        "userknownhostsfile /home/x y/.ssh/known_hosts /tmp/%k\nglobalknownhostsfile none"
    )
    found = way()
    assert (found.host, found.user, found.port, found.known_names) == ("10.0.0.5", "admin", 2222, ("storage-1",))
    assert found.identities == (str(Path.home() / ".ssh/10.0.0.5"),)
    assert (found.only_these_identities, found.agent, found.jumps) == (True, "/run/agent", ("a@one:22", "two"))
    assert (found.timeout, found.alive_interval, found.alive_count) == (7.0, 5.0, 2)
    assert found.known_files == (Path("/home/x y/.ssh/known_hosts"), Path("/tmp/storage-1"))


def test_none_is_no_setting(ssh_says):
    ssh_says("hostname h\nuser u\nport 22\nproxyjump none\nproxycommand none\nconnecttimeout none\nidentityagent none")
    found = way()
    assert found.direct
    assert found.timeout is None


def test_the_words_of_a_proxy_command_are_filled_in(ssh_says):
    ssh_says("hostname 10.0.0.5\nuser admin\nport 2222\nproxycommand reach %n %r@%h:%p 100%%")
    assert way().proxy_command == "reach storage admin@10.0.0.5:2222 100%"


def test_a_given_port_and_user_win():
    found = way(port=2201, user="operator")
    assert (found.port, found.user) == (2201, "operator")


def test_a_broken_ssh_configuration_is_said(ssh_says):
    ssh_says("", status=255)
    with pytest.raises(Trouble, match="your ssh configuration cannot be read"):
        way()


def test_without_an_ssh_program_the_inventory_is_enough(monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    found = way(address="10.0.0.9", port=2201, user="root")
    assert (found.host, found.port, found.user) == ("10.0.0.9", 2201, "root")
    assert found.known_files[0] == Path.home() / ".ssh/known_hosts"


def test_an_address_is_never_an_option():
    with pytest.raises(Trouble, match="is not an address"):
        way(address="-oProxyCommand=touch /tmp/x")


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


# --- known keys -------------------------------------------------------------------------------------------------------


def look_up(tmp_path, text, *names):
    file = tmp_path / "known_hosts"
    file.write_text(text)
    return known.look_up(names, [file, tmp_path / "missing"])


def line(name: str, key: HostKey = KEY, mark: str = "") -> str:
    return f"{mark} {name} {key.kind} {key.text} comment\n".lstrip()


def hashed(tmp_path, name: str) -> str:
    file = tmp_path / "plain"
    file.write_text(line(name))
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    return file.read_text()


@pytest.mark.parametrize("names", ["host", "HOST", "other,host", "h?st", "*", "*.net,ho*"])
def test_a_line_may_name_a_host_in_many_ways(tmp_path, names):
    assert look_up(tmp_path, line(names), "host").accepts(KEY)


@pytest.mark.parametrize("names", ["hos", "*,!host", "host2", "|1|!!|!!", "[host]:22"])
def test_a_line_about_others_says_nothing(tmp_path, names):
    assert not look_up(tmp_path, line(names), "host").lines


def test_a_hashed_name_is_found(tmp_path):
    assert look_up(tmp_path, hashed(tmp_path, "[host]:2222"), "[host]:2222", "host").accepts(KEY)


def test_authorities_comments_and_rubbish_do_not_end_the_file(tmp_path):
    text = line("*", mark="@cert-authority") + "# host ssh-ed25519 AAAA\n\nrubbish\nhost ssh-rsa %%%\n" + line("host")
    assert look_up(tmp_path, text, "host").accepts(KEY)


def test_a_revoked_key_is_found_even_where_it_is_known(tmp_path):
    found = look_up(tmp_path, line("host") + line("*", mark="@revoked"), "host")
    revoked = found.revoked(KEY, None)
    assert revoked
    assert revoked.place.endswith("known_hosts:2")


def test_a_key_known_without_port_will_do_but_never_counts_as_changed(tmp_path):
    found = look_up(tmp_path, line("host"), "[host]:2222", "host")
    assert found.accepts(KEY)
    assert not found.accepts(OTHER)
    assert not found.keys


def test_only_known_kinds_are_asked_for(tmp_path):
    assert look_up(tmp_path, line("host"), "host").algorithms() == ("ssh-ed25519",)
    assert look_up(tmp_path, line("host", HostKey("ssh-rsa", KEY.text)), "host").algorithms()[0] == "rsa-sha2-512"
    assert look_up(tmp_path, "", "host").algorithms() == known.ALGORITHMS


def test_fingerprints_are_those_of_ssh_keygen(tmp_path):
    (tmp_path / "key.pub").write_text(f"{KEY.kind} {KEY.text}\n")
    said = subprocess.run(["ssh-keygen", "-lf", tmp_path / "key.pub"], check=True, capture_output=True, text=True)
    assert KEY.fingerprint in said.stdout


PATTERN = some.text("ab.*?", min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    some.lists(some.tuples(some.booleans(), PATTERN), min_size=1, max_size=3), some.text("ab.", min_size=1, max_size=4)
)
def test_names_mean_what_they_mean_to_ssh_keygen(tmp_path_factory, patterns, name):
    names = ",".join(("!" if no else "") + pattern for no, pattern in patterns)
    file = tmp_path_factory.mktemp("known") / "known_hosts"
    file.write_text(line(names))
    said = subprocess.run(["ssh-keygen", "-F", name, "-f", file], capture_output=True, text=True)
    assert known.names_it(names, name) == (said.returncode == 0)


# --- the way to root --------------------------------------------------------------------------------------------------


def through(shell: str, script: str) -> str:
    start = ssh_root.begin(Rise("root", True, False), script)
    done = subprocess.run([shell, "-c", start.command], capture_output=True, text=True, check=True)
    ready, _, rest = done.stdout.partition("\n")
    assert ready == start.ready
    return rest


@pytest.fixture
def seen_as_root(tmp_path, monkeypatch):
    (tmp_path / "id").write_text("#!/bin/sh\necho 0\n")
    (tmp_path / "id").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.parametrize("shell", [one for one in ("sh", "bash", "dash", "zsh", "fish") if shutil.which(one)])
@pytest.mark.parametrize("text", ["'", "\\", "\\\\", "\\'", "'\\''", "$HOME `id` !x *", "a\n\tb", '"', "\\n'\\"])
def test_a_script_reaches_sh_unchanged_through_any_login_shell(seen_as_root, shell, text):
    assert through(shell, f"cat <<'END'\n{text}\nEND") == text + "\n"


@settings(max_examples=50, deadline=None)
@given(some.text("'\\\"$ab \n", max_size=20))
def test_any_script_is_one_word(text):
    word = ssh_root._word(text)
    assert subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, text=True).stdout == text


@pytest.mark.parametrize("script", ["echo é", "echo \0", "x" * 120_000, "'" * 30_000])
def test_what_does_not_fit_on_a_command_line_is_refused(script):
    with pytest.raises(ValueError, match="stdin"):
        ssh_root.begin(Rise("root", True, False), script)


@pytest.mark.parametrize(
    ("rise", "begins"),
    [
        (Rise("root", True, True), "exec /bin/sh -c "),
        (Rise("bob", False, False), "exec /bin/sh -c "),
        (Rise("bob", True, False), "exec env LC_ALL=C sudo -n -- /bin/sh -c "),
        (Rise("bob", True, True), "exec env LC_ALL=C sudo -k -S -p "),
    ],
)
def test_the_way_to_root(rise, begins):
    assert ssh_root.begin(rise, "true").command.startswith(begins)


@pytest.mark.parametrize(
    ("said", "what", "hint"),
    [
        ("sudo: a password is required", "sudo wants a password of bob", "ansible_become_password"),
        ("sudo: interactive authentication is required", "sudo wants a password of bob", "NOPASSWD"),
        ("bob is not in the sudoers file.", "bob may not use sudo", "usermod -aG sudo bob"),
        ("sudo: I'm sorry bob. I'm afraid I can't do that", "bob may not use sudo", "usermod -aG sudo bob"),
        ("sudo: sorry, you must have a tty to run sudo", "sudo wants a terminal for bob", "!requiretty"),
        ("env: 'sudo': No such file or directory", "it has no sudo", "install sudo"),
        ("stowage: not root", "bob is not root there", "ansible_become: true"),
        ('sudo: the "no new privileges" flag is set', "sudo gave bob no root shell", ""),
    ],
)
def test_each_refusal_of_sudo_says_what_to_do(said, what, hint):
    trouble = ssh_root.refused(Rise("bob", True, False), "prod", said, 1)
    assert trouble.what == what
    assert hint in trouble.hint


# --- what we take for granted of Paramiko: a new version must pass here first -----------------------------------------


def test_paramiko_builds_an_attempt_to_log_in_in_two_steps_that_we_join():
    login = paramiko.auth_handler.AuthHandler
    assert "MSG_SERVICE_ACCEPT: self._parse_service_accept" in inspect.getsource(login._client_handler_table.fget)
    assert "ssh-userauth" in inspect.getsource(login._request_auth)
    assert "self.transport._send_message(m)" in inspect.getsource(login._parse_service_accept)
    assert "self._request_auth()" in inspect.getsource(login.auth_publickey)


def test_paramiko_asks_a_transport_which_host_keys_it_prefers():
    assert "self.preferred_keys" in inspect.getsource(paramiko.Transport._send_kex_init)
    assert "self.preferred_keys" in inspect.getsource(paramiko.Transport._parse_kex_init)
    assert set(known.ALGORITHMS) <= set(paramiko.Transport._key_info)


def test_paramiko_sends_requests_and_hears_of_them_where_we_look():
    assert "self._event_pending()" in inspect.getsource(paramiko.Channel.exec_command)
    assert "self._channel_handler_table[ptype](chan, m)" in inspect.getsource(paramiko.Transport.run)
    assert "status_event.set()" in inspect.getsource(paramiko.Channel._handle_request)
    assert "self.packetizer.read_message()" in inspect.getsource(paramiko.Transport.run)


def test_paramiko_never_starts_a_rekey_of_its_own():
    assert paramiko.packet.Packetizer.REKEY_BYTES == 2**45
    assert "self.REKEY_BYTES" in inspect.getsource(paramiko.packet.Packetizer.send_message)


def test_our_ciphers_are_known_to_paramiko():
    assert set(ssh_wire.Wire._preferred_ciphers) <= set(paramiko.Transport._cipher_info)
    assert set(ssh_wire.Wire._preferred_macs) <= set(paramiko.Transport._mac_info)


def test_a_shell_is_asked_for_in_a_form_that_paramiko_would_use():
    class Transport:
        def _send_user_message(self, message):
            self.sent = message.asbytes()

    ours, theirs = Transport(), Transport()
    channel = paramiko.Channel(0)
    channel.active, channel.transport = True, theirs
    channel._wait_for_event = lambda: None
    channel.exec_command("id")
    channel.transport = ours
    ssh_wire.start(channel, "id")
    channel.transport = None
    assert ours.sent == theirs.sent


def test_the_settings_of_ssh_are_read_from_a_real_ssh():
    assert ssh_config.Question("x", "example.invalid").answer().host == "example.invalid"
