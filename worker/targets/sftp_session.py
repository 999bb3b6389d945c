"""One SFTP connection: only to the host key that is known, and with care for Paramiko's gaps."""

from __future__ import annotations

import base64
import errno
import io
import posixpath
import secrets
import socket
from contextlib import suppress

import paramiko

from worker.contract import REFUSED, USAGE
from worker.errors import Failed
from worker.targets.base import PARTIAL

CONNECT, SILENCE = 15.0, 60.0
WINDOW = 16 << 20
KEYS: tuple[type[paramiko.PKey], ...] = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)
FSYNC, STATVFS = "fsync@openssh.com", "statvfs@openssh.com"


class Client(paramiko.SFTPClient):
    def fsync(self, file: paramiko.SFTPFile) -> None:
        """Has the server write the file to its disk, if it supports that."""
        # Servers that do not answer an unknown request properly.
        with suppress(OSError):
            self._request(paramiko.sftp.CMD_EXTENDED, FSYNC, file.handle)  # type: ignore[attr-defined]

    def free(self, path: str) -> int | None:
        """The free bytes in a folder; None if the server does not report them."""
        try:
            kind, answer = self._request(paramiko.sftp.CMD_EXTENDED, STATVFS, path)  # type: ignore[attr-defined]
            if kind != paramiko.sftp.CMD_EXTENDED_REPLY:
                return None
            _, fragment, _, _, available = (answer.get_int64() for _ in range(5))
        except OSError:
            return None
        return int(fragment * available)


class Session:
    """One connection to the machine with the known host key."""

    def __init__(self, name: str, host: str, port: int, user: str, key: paramiko.PKey, host_key: paramiko.PKey) -> None:
        line = socket.create_connection((host, port), CONNECT)
        self._transport = paramiko.Transport(line, default_window_size=WINDOW)
        try:
            self._transport.banner_timeout = self._transport.auth_timeout = CONNECT
            _expect(self._transport, host_key)
            self._transport.start_client(timeout=CONNECT)
            if self._transport.get_remote_server_key() != host_key:
                raise Failed(REFUSED, f"{name}: {host} is not the machine that was known", why="its host key differs")
            self._transport.set_keepalive(15)
            self._log_in(name, user, key)
            self._channel = self._transport.open_session(timeout=CONNECT)
            self._channel.settimeout(SILENCE)
            self._channel.invoke_subsystem("sftp")
            self.sftp = Client(self._channel)
        except BaseException:
            self._transport.close()
            raise

    def _log_in(self, name: str, user: str, key: paramiko.PKey) -> None:
        try:
            self._transport.auth_publickey(user, key)
        except paramiko.AuthenticationException:
            # Paramiko raises the same error for a broken connection.
            if not self._transport.is_active():
                raise EOFError("the connection broke at the login") from None
            hint = f"the public half belongs into authorized_keys of {user}"
            raise Failed(REFUSED, f"{name}: the server lets {user} not in with this key", hint=hint) from None

    def alive(self) -> bool:
        return self._transport.is_active() and not self._channel.closed

    def close(self) -> None:
        self._transport.close()

    def write(self, root: str, key: str, data: bytes, if_absent: bool) -> None:
        path = posixpath.join(root, key)
        self._make_folders(posixpath.dirname(path), root)
        unfinished = f"{path}.{secrets.token_hex(4)}{PARTIAL}"
        try:
            self._fill(unfinished, data)
            if if_absent:
                self._place(unfinished, path)
            else:
                self.sftp.posix_rename(unfinished, path)
        except BaseException:
            with suppress(OSError, EOFError, paramiko.SSHException):
                if self.alive():
                    self.sftp.remove(unfinished)
            raise

    def _fill(self, path: str, data: bytes) -> None:
        with self.sftp.open(path, "wx") as file:
            file.chmod(0o600)
            file.set_pipelined(True)
            view = memoryview(data)
            file.write(view[:-1])
            # Only a write that is not pipelined waits for all answers, and so reports a full disk.
            file.set_pipelined(False)
            file.write(view[-1:])
            self.sftp.fsync(file)
            size = file.stat().st_size
        if size != len(data):
            raise OSError(errno.EIO, f"{len(data)} bytes were sent, the server has {size}")

    def _place(self, unfinished: str, path: str) -> None:
        """Renames a file without replacing another; SFTP reports an existing name only as a failure."""
        try:
            self.sftp.rename(unfinished, path)
        except OSError:
            if self._is_there(path):
                raise FileExistsError from None
            raise

    def _is_there(self, path: str) -> bool:
        try:
            self.sftp.stat(path)
        except FileNotFoundError:
            return False
        return True

    def _make_folders(self, folder: str, root: str) -> None:
        if self._is_there(folder):
            return
        if folder == root:
            raise Failed(
                REFUSED, f"the SFTP server has no folder {root}", why="it is not made, since a disk may not be mounted"
            )
        self._make_folders(posixpath.dirname(folder), root)
        try:
            self.sftp.mkdir(folder, 0o700)
        except OSError:
            if not self._is_there(folder):
                raise


def private_key(name: str, text: str) -> paramiko.PKey:
    for kind in KEYS:
        with suppress(paramiko.SSHException, ValueError):
            return kind.from_private_key(io.StringIO(text.strip() + "\n"))
    why = "it has to be an Ed25519, ECDSA or RSA key without a passphrase"
    raise Failed(USAGE, f"{name}: the private key cannot be read", why=why, hint="ssh-keygen -t ed25519 -N ''")


def public_key(name: str, line: str) -> paramiko.PKey:
    """The host key of a line of known_hosts."""
    fields = line.split()
    with suppress(paramiko.SSHException, ValueError, IndexError, TypeError):
        if not line.lstrip().startswith(("@", "#")):
            kind, key = fields[1:3] if len(fields) > 2 else fields
            return paramiko.PKey.from_type_string(kind, base64.b64decode(key))
    why = "it has to be a line of known_hosts: name, kind and key"
    raise Failed(USAGE, f"{name}: the host key cannot be read", why=why, hint="ssh-keyscan HOST, and compare")


def _expect(transport: paramiko.Transport, host_key: paramiko.PKey) -> None:
    """Asks the server for the type of host key that is known; it may have others."""
    kind = host_key.get_name()
    transport.get_security_options().key_types = ("rsa-sha2-512", "rsa-sha2-256") if kind == "ssh-rsa" else (kind,)


def broken(error: Exception) -> bool:
    """Whether the connection is unusable; after a refusal it still works."""
    return isinstance(error, EOFError | paramiko.SSHException | ConnectionError | TimeoutError | socket.gaierror)
