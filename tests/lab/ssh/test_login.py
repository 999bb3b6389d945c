"""Logging in: keys, agents and certificates, and hosts that refuse them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from converge.errors import UNREACHABLE
from tests.lab.ssh.conftest import refusal


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Path]:
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


def many(sshd, agent: Path, key: Path) -> None:
    """An agent with more keys than the host lets anybody try; the right one comes last."""
    for number in range(7):
        add(agent, sshd.keygen(f"strange{number}"))
    add(agent, key)


@pytest.mark.parametrize("only", ["yes", "no"])
def test_a_public_key_chooses_the_one_of_an_agent_of_many(start, open_link, agent, ssh_config, tmp_path, only):
    sshd = start(options="MaxAuthTries 2")
    many(sshd, agent, sshd.key)
    alone = tmp_path / "alone.pub"
    alone.write_text(sshd.key.with_name("key.pub").read_text())
    ssh_config.write_text(f"IdentityAgent {agent}\nIdentitiesOnly {only}\nIdentityFile {alone}\n")
    assert open_link(sshd.target(key_file=None)).alive()
    assert open_link(sshd.target(key_file=str(alone))).alive()


def test_a_locked_key_without_its_public_half_is_found_in_the_agent(start, open_link, agent, ssh_config):
    sshd = start(options="MaxAuthTries 2")
    many(sshd, agent, sshd.key)
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "a phrase", "-f", sshd.key], check=True, capture_output=True)
    sshd.key.with_name("key.pub").unlink()
    ssh_config.write_text(f"IdentityAgent {agent}\nIdentitiesOnly yes\nIdentityFile {sshd.key}\n")
    assert open_link(sshd.target(key_file=None)).alive()
    assert open_link(sshd.target()).alive()


def test_a_public_key_that_no_agent_holds_is_named(start, ssh_config, tmp_path):
    sshd = start()
    alone = tmp_path / "alone.pub"
    alone.write_text(sshd.key.with_name("key.pub").read_text())
    ssh_config.write_text(f"IdentityFile {alone}\n")
    for target in (sshd.target(key_file=None), sshd.target(key_file=str(alone))):
        trouble = refusal(target)
        assert trouble.why == f"no agent holds the other half of {alone}"
        assert trouble.hint == f"ssh-add {tmp_path}/alone"


def test_a_certificate_is_shown_with_the_key_of_an_agent(start, open_link, agent, ssh_config, tmp_path, monkeypatch):
    sshd = start(options=f"TrustedUserCAKeys {tmp_path}/sshd/ca.pub")
    ca, key = sshd.keygen("ca"), sshd.keygen("certified")
    subprocess.run(["ssh-keygen", "-q", "-s", ca, "-I", "me", "-n", sshd.user, "-V", "+1h", f"{key}.pub"], check=True)
    certificate = tmp_path / "elsewhere" / "certificate"
    certificate.parent.mkdir()
    (sshd.folder / "certified-cert.pub").rename(certificate)
    add(agent, key)
    key.unlink()
    monkeypatch.setenv("PLACE", str(certificate.parent))
    ssh_config.write_text(f"IdentityAgent {agent}\nIdentityFile {key}\nCertificateFile ${{PLACE}}/certificate\n")
    assert open_link(sshd.target(key_file=None)).alive()


def test_a_certificate_beside_a_key_is_shown(start, open_link, tmp_path):
    sshd = start(options=f"TrustedUserCAKeys {tmp_path}/sshd/ca.pub")
    ca, key = sshd.keygen("ca"), sshd.keygen("certified")
    subprocess.run(["ssh-keygen", "-q", "-s", ca, "-I", "me", "-n", sshd.user, "-V", "+1h", f"{key}.pub"], check=True)
    assert open_link(sshd.target(key_file=str(key))).alive()


def test_a_host_that_ends_the_login_is_said(start):
    sshd = start(options="MaxAuthTries 1")
    assert "is the account locked or expired?" in refusal(sshd.target(key_file=str(sshd.host_key))).why


def test_the_words_with_which_a_host_ends_the_login_are_told(start, tmp_path):
    (tmp_path / "words").write_text("Down for work until ten.\n")
    sshd = start(options=f"MaxAuthTries 1\nBanner {tmp_path}/words")
    why = refusal(sshd.target(key_file=str(sshd.host_key))).why
    assert "the host ended the connection: Down for work until ten." in why


def test_a_host_that_wants_more_than_a_key_is_said(start):
    sshd = start(options="AuthenticationMethods publickey,publickey")
    assert refusal(sshd.target()).what == f"a key is not enough for {sshd.user}"


def test_a_host_that_takes_no_keys_is_said(start):
    sshd = start(options="PubkeyAuthentication no")
    trouble = refusal(sshd.target())
    assert trouble.what == f"it takes no keys from {sshd.user}"
    assert "PubkeyAuthentication yes" in trouble.hint
