"""Private names of Paramiko 5.1 that we rely on: a new version must pass these tests first."""

from __future__ import annotations

import errno
import inspect
import socket

import paramiko
import pytest

from converge.ssh import known
from converge.ssh import wire as ssh_wire


def test_paramiko_builds_an_attempt_to_log_in_in_two_steps_that_we_join():
    login = paramiko.auth_handler.AuthHandler
    assert "MSG_SERVICE_ACCEPT: self._parse_service_accept" in inspect.getsource(login._client_handler_table.fget)
    assert "ssh-userauth" in inspect.getsource(login._request_auth)
    assert "self.transport._send_message(m)" in inspect.getsource(login._parse_service_accept)
    assert "self._request_auth()" in inspect.getsource(login.auth_publickey)


def test_paramiko_asks_a_transport_which_host_keys_it_prefers():
    assert "self.preferred_keys" in inspect.getsource(paramiko.Transport._send_kex_init)
    assert "self.preferred_keys" in inspect.getsource(paramiko.Transport._parse_kex_init)
    assert '"Incompatible ssh peer (no acceptable host key)"' in inspect.getsource(paramiko.Transport._parse_kex_init)
    assert set(known.ALGORITHMS) <= set(paramiko.Transport._key_info)


def test_paramiko_sends_requests_and_hears_of_them_where_we_look():
    assert "self._event_pending()" in inspect.getsource(paramiko.Channel.exec_command)
    assert "self._channel_handler_table[ptype](chan, m)" in inspect.getsource(paramiko.Transport.run)
    assert "status_event.set()" in inspect.getsource(paramiko.Channel._handle_request)
    assert "self.packetizer.read_message()" in inspect.getsource(paramiko.Transport.run)


def test_paramiko_never_starts_a_rekey_of_its_own():
    assert paramiko.packet.Packetizer.REKEY_BYTES == 2**45
    assert "self.REKEY_BYTES" in inspect.getsource(paramiko.packet.Packetizer.send_message)


def test_a_line_that_is_closed_is_an_error_that_users_of_sockets_know():
    ours, theirs = socket.socketpair()
    packets = ssh_wire._Listening(ours)
    theirs.close()
    with pytest.raises(ConnectionResetError) as caught:
        packets.send_message(paramiko.Message(b"\x02bye"))
    assert caught.value.args[0] == errno.ECONNRESET, "Paramiko's thread formats it as a number"


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
