"""Known host keys: lines are read like OpenSSH reads them."""

from __future__ import annotations

import base64
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from converge.ssh import known
from converge.ssh.known import HostKey

KEY = HostKey("ssh-ed25519", base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)).decode())
OTHER = HostKey("ssh-ed25519", base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes([1]) * 32).decode())


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
    entries = look_up(tmp_path, line("host") + line("*", mark="@revoked"), "host")
    revoked = entries.revoked(KEY, None)
    assert revoked
    assert revoked.place.endswith("known_hosts:2")


def test_a_key_known_without_port_will_do_but_never_counts_as_changed(tmp_path):
    entries = look_up(tmp_path, line("host"), "[host]:2222", "host")
    assert entries.accepts(KEY)
    assert not entries.accepts(OTHER)
    assert not entries.keys


def test_only_known_kinds_are_asked_for(tmp_path):
    assert look_up(tmp_path, line("host"), "host").algorithms() == ("ssh-ed25519",)
    assert look_up(tmp_path, line("host", HostKey("ssh-rsa", KEY.text)), "host").algorithms()[0] == "rsa-sha2-512"
    assert look_up(tmp_path, "", "host").algorithms() == known.ALGORITHMS


def test_fingerprints_are_those_of_ssh_keygen(tmp_path):
    (tmp_path / "key.pub").write_text(f"{KEY.kind} {KEY.text}\n")
    shown = subprocess.run(["ssh-keygen", "-lf", tmp_path / "key.pub"], check=True, capture_output=True, text=True)
    assert KEY.fingerprint in shown.stdout


PATTERN = some.text("ab.*?", min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(
    some.lists(some.tuples(some.booleans(), PATTERN), min_size=1, max_size=3), some.text("ab.", min_size=1, max_size=4)
)
def test_names_mean_what_they_mean_to_ssh_keygen(tmp_path_factory, patterns, name):
    names = ",".join(("!" if no else "") + pattern for no, pattern in patterns)
    file = tmp_path_factory.mktemp("known") / "known_hosts"
    file.write_text(line(names))
    search = subprocess.run(["ssh-keygen", "-F", name, "-f", file], capture_output=True, text=True)
    assert known.names_it(names, name) == (search.returncode == 0)
