"""Keycloak's admin API, through the host's SSH connection to the port of its container on the host's loopback."""

from __future__ import annotations

import json
import time
from dataclasses import field
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode
from weakref import WeakKeyDictionary

from converge.errors import Trouble
from converge.inventory.secret import Secret
from converge.libraries import import_whole
from converge.record import dataclass
from converge.resources.compose import FOLDER
from roles.minio.nodes import pool

if TYPE_CHECKING:
    from converge.ssh.link import Link

CLIENT = "stowage"
"""The client that a deploy logs in with; Keycloak creates it together with its database."""
PATIENCE = 20.0
FRESH = 30.0
"""Seconds for which a token is used; Keycloak's own are good for a minute."""
NO_RIGHTS = "give the client stowage its role admin back: docs/runbook.md, Single sign-on"
UNKNOWN_SECRET = (400, 401)
"""Statuses with which Keycloak refuses a secret."""
MOST = 1000
"""Entries in one listing."""
KNOWN = f"{FOLDER}/sso/secret"
"""The file of the host with each secret that the client may have, one a line, the newest last."""


@dataclass(frozen=True)
class Api:
    """The address of Keycloak on the host, and the client and secret to log in with."""

    port: int
    path: str
    realm: str
    secret: Secret = field(repr=False)

    def session(self, link: Link, known: bool = True) -> Session:
        """A session that is logged in, shared by all who ask at the same time.

        While Keycloak does not take the secret of the settings, `known` tries those of the host.
        """
        with _LOCK:
            session, since = _SESSIONS.get(link, (None, 0.0))
            if session is None or session.api != self or time.monotonic() - since > FRESH:
                session = Session(self, link)
                session.log_in(known)
                _SESSIONS[link] = (session, time.monotonic())
            return session


class Session:
    """Requests to the admin API of one realm."""

    def __init__(self, api: Api, link: Link) -> None:
        import_whole("urllib3.connection", "urllib3.exceptions", "urllib3")
        self.api, self._link = api, link
        self._pool = pool(link, PATIENCE, again=0)
        self._token = Secret("")
        self.secret = api.secret
        """That with which it logged in."""

    def log_in(self, known: bool) -> None:
        answer = self._token_for(self.secret)
        for secret in known_secrets(self._link) if known and answer.status in UNKNOWN_SECRET else ():
            again = self._token_for(secret)
            if again.status not in UNKNOWN_SECRET:
                answer, self.secret = again, secret
                break
        if answer.status in UNKNOWN_SECRET:
            raise Trouble(
                "Keycloak does not know the secret of the client stowage",
                where=self._link.target.name,
                why=f"{_message_of(answer)}; neither sso.secret, nor the last one that it took, which {KNOWN} has",
                hint="put the secret back that it had when its database was made or saved, or make a client anew that was "
                "removed: docs/runbook.md, Single sign-on",
            )
        self._token = Secret(str(self._well(answer, "log in")["access_token"]))

    def _token_for(self, secret: Secret) -> Any:
        form = {"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": secret.reveal()}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._send("POST", "/realms/master/protocol/openid-connect/token", urlencode(form), headers)

    def get(self, path: str, **query: object) -> Any:
        """The answer at a path of the realm; None if nothing exists there."""
        answer = self._ask("GET", path + (f"?{urlencode(query)}" if query else ""))
        return None if answer.status == 404 else self._well(answer, f"GET {path}")

    def change(self, method: str, path: str, body: Any = None, missing_ok: bool = False) -> None:
        answer = self._ask(method, path, body)
        if not (missing_ok and answer.status == 404):
            self._well(answer, f"{method} {path}")

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """`path` is relative to the realm; with two slashes at its start, to the admin API."""
        resource = path[1:] if path.startswith("//") else f"/realms/{quote(self.api.realm)}{path}"
        answer: Any = None
        for again in (False, True):
            if again:
                # Somebody has ended its sessions, or has tokens end sooner.
                self.log_in(known=True)
            headers = {"Authorization": f"Bearer {self._token.reveal()}", "Content-Type": "application/json"}
            answer = self._send(method, f"/admin{resource}", None if body is None else json.dumps(body), headers)
            if answer.status != 401:
                break
        return answer

    def _send(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> Any:
        from urllib3.exceptions import HTTPError

        url = f"http://127.0.0.1:{self.api.port}{self.api.path}{path}"
        # SSH encrypts the connection, but Keycloak cannot see that and would demand TLS.
        headers = {**headers, "X-Forwarded-Proto": "https"}
        try:
            return self._pool.request(method, url, body=body, headers=headers, redirect=False)
        except HTTPError as error:
            name = self._link.target.name
            raise Trouble("Keycloak does not answer", name, _reason(error), hint=f"inv status --host {name}") from None

    def _well(self, answer: Any, what: str) -> Any:
        if answer.status >= 400:
            name, status = self._link.target.name, answer.status
            if status >= 500:
                hint = f"inv status --host {name}: Keycloak cannot work without its database"
            else:
                hint = NO_RIGHTS if status == 403 else f"inv logs --service keycloak --host {name}"
            raise Trouble("Keycloak refused", name, f"{what}: {_message_of(answer)}", hint=hint)
        return json.loads(answer.data) if answer.data else None


_SESSIONS: WeakKeyDictionary[Any, tuple[Session, float]] = WeakKeyDictionary()
_LOCK = Lock()


def forget(link: Link) -> None:
    """Ends the shared session, after a change of the secret."""
    with _LOCK:
        _SESSIONS.pop(link, None)


def known_secrets(link: Link) -> list[Secret]:
    """The secrets that the host knows of, the newest first."""
    _, output, _ = link.send(f"cat {KNOWN} 2>/dev/null || :", iter(()))
    return [Secret(line) for line in reversed(output.decode(errors="replace").splitlines()) if line]


def _message_of(answer: Any) -> str:
    """Keycloak's own message, without the request, which may hold secrets."""
    try:
        body = json.loads(answer.data)
        reasons = [body.get(key) for key in ("errorMessage", "error_description", "error", "field")]
    except (ValueError, AttributeError):
        reasons = []
    return " ".join([str(answer.status), *(str(reason) for reason in reasons if reason)])


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error)[:200]
