"""Which host keys are taken, and what is said of the others."""

from __future__ import annotations

import signal
import subprocess

import pytest

from converge.errors import REFUSED
from converge.ssh import link as ssh
from tests.lab.ports import until
from tests.lab.ssh.conftest import refusal


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
        output = subprocess.run(["ssh-keygen", "-lf", f"{key}.pub"], capture_output=True, text=True).stdout
        assert output.split()[1] in trouble.why
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
    until(lambda: (sshd.folder / "log").read_text().count("Server listening on") == 2, "an sshd that has started anew")
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
