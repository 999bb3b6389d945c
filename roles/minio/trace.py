"""What `inv minio.trace` shows: the calls that the nodes of a cluster answer, as they come, without their secrets."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from converge.errors import Trouble
from converge.record import dataclass
from converge.ssh.link import connect
from roles.minio.admin import stream
from roles.minio.role import api_of, settings_of
from worker.size import human

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.minio.settings import Node as NodeSettings
    from roles.settings.model import Settings

HIDDEN = "[redacted]"
SECRET = re.compile(r"(?i)auth|token|sign|cookie|key|credential|secret|passw|session|policy")
"""A header or parameter with one of these words in its name is shown without its value."""


@dataclass(frozen=True)
class Filter:
    """Which calls are shown: only those that failed, that took so many milliseconds, of one node, of a path."""

    errors: bool = False
    slower: int = 0
    node: str = ""
    path: str = ""
    internal: bool = False

    def query(self) -> dict[str, str]:
        """The filter that the server applies itself."""
        asked = {"s3": True, "internal": self.internal, "err": self.errors}
        return {name: str(value).lower() for name, value in asked.items()} | {"threshold": f"{self.slower}ms"}

    def fits(self, call: Mapping[str, Any]) -> bool:
        pattern = self.path.lstrip("/")
        pattern += "" if set(pattern) & set("*?[") else "*"
        return self.node in ("", call["node"]) and fnmatchcase(call["path"].lstrip("/"), pattern)


def trace(host: Host[Settings], chosen: Filter, as_json: bool) -> None:
    """Print the calls of all nodes until Ctrl-C."""
    nodes = settings_of(host).nodes
    if chosen.node and chosen.node not in (known := [node.name for node in nodes]):
        raise Trouble(
            f"there is no node {chosen.node}",
            host.name,
            f"nodes are {', '.join(known)}",
            "nothing was traced",
            f"inv minio.trace --node {known[0]} --host {host.name}",
        )
    link = connect(host.target)
    try:
        api_of(host).read(link, lambda client: _follow(host, client, chosen, as_json))
    except KeyboardInterrupt:
        pass
    finally:
        link.close()


def _follow(host: Host[Settings], client: Any, chosen: Filter, as_json: bool) -> None:
    """Show the calls from one node, which collects those of the others; returns only when the node goes away."""
    from urllib3.exceptions import ProtocolError

    print(f"{host.name}: listening at {client._base_url.host}; Ctrl-C ends", file=sys.stderr, flush=True)
    for line in stream(client, "trace", chosen.query()):
        call = read(json.loads(line), settings_of(host).nodes)
        if chosen.fits(call):
            print(json.dumps({"host": host.name, **call}) if as_json else shown(call), flush=True)
    raise ProtocolError("the node ended the trace")


def read(call: Mapping[str, Any], nodes: Sequence[NodeSettings]) -> dict[str, Any]:
    """A call without bodies, and without anything that would let somebody repeat it."""
    http = call.get("http") or {}
    request, response, stats = (http.get(part) or {} for part in ("request", "response", "stats"))
    headers = request.get("headers") or {}
    return {
        "at": call.get("time", ""),
        "node": _node(call.get("nodename", ""), nodes),
        "call": call.get("funcname", ""),
        "method": request.get("method", ""),
        "path": call.get("path", ""),
        "query": masked(request.get("rawquery", "")),
        "client": request.get("client", ""),
        "key": _who(headers, request.get("rawquery", "")),
        "status": response.get("statuscode", 0),
        "error": _code(response.get("body")) or call.get("error", ""),
        "seconds": round(call.get("dur", 0) / 1e9, 6),
        "received": stats.get("inputbytes", 0),
        "sent": stats.get("outputbytes", 0),
        "headers": {"request": _safe(headers), "response": _safe(response.get("headers") or {})},
    }


def _node(place: str, nodes: Sequence[NodeSettings]) -> str:
    """A node's name in the settings. A single node reports the name that its client used."""
    name = place.rpartition(":")[0] or place
    known = {node.address: node.name for node in nodes}
    return str(nodes[0].name) if len(nodes) == 1 else known.get(name, name)


def _safe(headers: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {
        name: HIDDEN if SECRET.search(name) else ", ".join(map(_without_query, values))
        for name, values in headers.items()
    }


def _without_query(value: str) -> str:
    """An address in a header may be a signed one."""
    address, mark, query = value.partition("?")
    return f"{address}?{masked(query)}" if mark else value


def masked(query: str) -> str:
    """The parameters of a request, without the values of those that are secret."""
    pairs = parse_qsl(query, keep_blank_values=True)
    return urlencode([(name, HIDDEN if value and SECRET.search(name) else value) for name, value in pairs], safe="/[]")


def _who(headers: Mapping[str, Sequence[str]], query: str) -> str:
    """The access key that a request was signed with: a name, not a secret."""
    asked = dict(parse_qsl(query))
    given = [
        *headers.get("Authorization", ()),
        asked.get("X-Amz-Credential"),
        f"AWS {asked.get('AWSAccessKeyId', '')}:",
    ]
    match = re.match(r"(?:AWS4-HMAC-SHA256 Credential=|AWS )?([A-Za-z0-9_.@-]+)[/:]", next(filter(None, given)))
    return match[1] if match else ""


def _code(body: Any) -> str:
    """The code of an error in an answer of MinIO, which is XML or JSON; Go writes bytes as base64."""
    import base64
    import binascii

    try:
        text = base64.b64decode(body or "").decode(errors="replace")
    except (binascii.Error, ValueError):
        return ""
    match = re.search(r'<Code>(\w+)</Code>|"Code":\s*"(\w+)"', text)
    return (match[1] or match[2]) if match else ""


def shown(call: Mapping[str, Any]) -> str:
    """A call as a line, safe for a terminal: a client may have put control characters into the path."""
    query = f"?{call['query']}" if call["query"] else ""
    how = f"{call['status']} {call['error']}".strip()
    who = f"{call['key'] or 'nobody'}@{call['client']}"
    bytes = f"{human(call['received'])} in, {human(call['sent'])} out"
    what = f"{call['call']:24} {call['method']} {call['path']}{query}"
    line = f"{call['at'][11:23]}  {call['node']}  {how}  {call['seconds'] * 1000:.1f} ms  {what}  {who}  {bytes}"
    return line if line.isprintable() else ascii(line)[1:-1]
