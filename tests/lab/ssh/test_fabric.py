"""A host's line is a `fabric.Connection`, with our checks of keys and routes."""

from __future__ import annotations

from io import BytesIO

import fabric
import paramiko
import pytest
from invoke.exceptions import UnexpectedExit

from converge.errors import REFUSED, UNREACHABLE, Trouble
from converge.ssh import link as ssh
from converge.ui.own import failed
from tests.lab.ssh.test_ways import both_known, through_hop


@pytest.fixture
def connect():
    """Make a connection to a target that is closed with the test."""
    made = []

    def connect(target):
        made.append(ssh.connection(target))
        return made[-1]

    yield connect
    for connection in made:
        connection.close()


def test_the_channels_of_a_link_stand_on_fabrics_transport(start, open_link):
    link = open_link(start().target())
    assert isinstance(link.connection, fabric.Connection) and link.connection.is_connected
    assert link.connection.run("echo hello", hide=True).stdout == "hello\n"
    link.shell("true")
    assert link.connection.transport is link._line.wire


def test_a_connection_opens_when_it_is_first_used_and_again_after_its_end(start, connect, tmp_path):
    sshd = start(options="Subsystem sftp internal-sftp")
    connection = connect(sshd.target())
    assert not connection.is_connected and not sshd.sessions()
    for _ in range(2):
        with connection as open_one:
            assert open_one.run("echo here", hide=True).stdout == "here\n"
        assert not connection.is_connected
    connection.put(BytesIO(b"a\0b"), str(tmp_path / "there"))
    connection.get(str(tmp_path / "there"), str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == b"a\0b"


def test_a_connection_refuses_an_unknown_key_as_everything_does(start, connect):
    sshd = start()
    sshd.known.write_text("")
    with pytest.raises(Trouble, match="its host key is not known") as caught:
        connect(sshd.target()).run("true")
    assert caught.value.code == REFUSED and caught.value.hint == "inv host.trust prod"


def test_a_connection_goes_through_hops_whose_keys_are_checked(start, connect, ssh_config):
    hop, sshd = start("hop"), start()
    through_hop(ssh_config, sshd, hop)
    with pytest.raises(Trouble, match="its host key is not known"):
        connect(sshd.target()).run("true")
    both_known(hop, sshd)
    assert connect(sshd.target()).run("echo far", hide=True).stdout == "far\n"


def test_a_command_that_fails_is_told_with_its_last_words(start, connect):
    with pytest.raises(UnexpectedExit) as caught:
        connect(start().target()).run("echo no such thing >&2; exit 3", hide=True)
    trouble = failed(caught.value)
    assert (trouble.where, trouble.why) == ("prod", "it ended with status 3\nno such thing")
    assert trouble.hint.startswith("ssh -p ")


def test_a_command_whose_line_is_lost_is_no_failure_of_the_command(start, connect):
    sshd = start()
    connection = connect(sshd.target())
    connection.open()
    command = f"kill {' '.join(map(str, sshd.sessions()))}; sleep 5"
    with pytest.raises(UnexpectedExit) as caught:
        connection.run(command, hide=True)
    trouble = failed(caught.value)
    assert (trouble.what, trouble.code) == ("the connection was lost", UNREACHABLE)


def test_a_host_that_opens_no_more_sessions_says_so(start, connect):
    connection = connect(start(options="MaxSessions 1").target())
    with connection.create_session(), pytest.raises(Trouble, match="it opens no more sessions"):
        connection.run("true")


def test_a_host_without_sftp_says_so(start, connect):
    with pytest.raises(Trouble, match="it takes no files over SFTP") as caught:
        connect(start().target()).put(BytesIO(b""), "/nowhere")
    assert "internal-sftp" in caught.value.hint


def test_nothing_of_paramiko_adds_a_key_by_itself(start, connect):
    connection = connect(start().target())
    connection.client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    connection.open()
    assert not connection.client.get_host_keys()
