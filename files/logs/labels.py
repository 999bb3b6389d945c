"""Between the agent and the store of logs: gives each line the labels that queries name, and takes out what must not be kept.

The agent has what cannot be delivered on its disk: an answer of 2xx means that the store has the lines.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import sys
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

READS = ("Get", "Head", "List", "SelectObject")
WRITES = ("Put", "Post", "Copy", "NewMultipart", "CompleteMultipart", "Upload")
DELETES = ("Delete", "AbortMultipart")
NEVER = ("requestHeader", "requestQuery", "responseHeader", "requestClaims")
"""Of an audit line: they hold signatures, tokens, keys of encryption, and names of people."""
OF_THE_HOST = ("PRIORITY", "SYSLOG_IDENTIFIER", "_SYSTEMD_UNIT", "_TRANSPORT", "_HOSTNAME")
"""What is kept of a line of the journal beside its text."""
SECRETS = (
    (re.compile(r"(?i)(X-Amz-(?:Signature|Security-Token)=)[^&\s\"']+"), r"\1[redacted]"),
    (re.compile(r"(?i)(\bSignature=)[0-9a-f]{16,}"), r"\1[redacted]"),
    (re.compile(r"(?i)(WebIdentityToken=)[^&\s\"']+"), r"\1[redacted]"),
    (re.compile(r"(?i)(\b(?:proxy-)?authorization[\"']?\s*[:=]\s*)(?:\"[^\"]*\"|'[^']*'|[^\r\n]+)"), r"\1[redacted]"),
)
KEYS = re.compile(
    r"(?i)(\b(?:X-Amz-Credential=|Credential=|AWSAccessKeyId=|access[ _]?key(?: ?id)?[\"']?\s*[:=]\s*[\"']?))([A-Za-z0-9_-]{3,128})"
)
LEVELS = re.compile(r"(?i)\b(?:level[=\":\s]+)?(panic|fatal|error|err|warning|warn)\b")


class Labels:
    """Labels and pseudonyms; one pepper gives one key the same name for ever, and nobody else can work it out."""

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper

    def pseudonym(self, key: str) -> str:
        return "key-" + hmac.new(self._pepper, key.encode(), hashlib.sha256).hexdigest()[:12]

    def clean(self, text: str) -> str:
        """A text without signatures and tokens, its access keys as pseudonyms."""
        for pattern, instead in SECRETS:
            text = pattern.sub(instead, text)
        return KEYS.sub(lambda found: found[1] + self.pseudonym(found[2]), text)

    def line(self, told: dict[str, Any]) -> dict[str, Any] | None:
        """A line as it is kept; None is one that nobody needs."""
        if told.get("stream") == "audit":
            kept = self._audit(told)
        elif "PRIORITY" in told or "_TRANSPORT" in told:
            kept = self._journal(told)
        else:
            kept = self._container(told)
        return kept and {name: self.clean(value) if isinstance(value, str) else value for name, value in kept.items()}

    def _audit(self, told: dict[str, Any]) -> dict[str, Any] | None:
        # The agent takes the name of the call for the text of the line.
        name, status = str(told.get("_msg", "")), str(told.get("api.statusCode", ""))
        if "/" in name:  # what nodes ask of one another
            return None
        kept = {key: value for key, value in told.items() if key.split(".")[0] not in NEVER}
        if key := kept.pop("accessKey", ""):
            kept["who"] = self.pseudonym(key)
        incoming = told.get("trigger") == "incoming"
        kept["operation_type"] = _operation(name) if incoming else "internal"
        kept["level"] = {"4": "warning", "5": "error"}.get(status[:1], "info")
        if status in ("401", "403"):
            kept["security_event"] = "access_denied"
        return kept

    def _journal(self, told: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in told.items() if key in OF_THE_HOST or key in ("_time", "_msg")}
        priority = int(told.get("PRIORITY") or 6)
        level = "error" if priority <= 3 else "warning" if priority == 4 else "info"
        stream = "kernel" if told.get("_TRANSPORT") == "kernel" else "journal"
        return {**kept, "source": "host", "stream": stream, "level": level}

    def _container(self, told: dict[str, Any]) -> dict[str, Any]:
        """Docker's line: its attributes say of which container and of which project it is."""
        container = told.get("attrs.tag", "")
        source = told.get("attrs.com.docker.compose.project") or container or "unknown"
        text = str(told.get("_msg", "")).rstrip("\n")
        return {
            "_time": told.get("_time"),
            "_msg": text,
            "source": source,
            "stream": "console",
            "container": container,
            "output": told.get("stream", ""),
            "level": _level(text),
        }


def _operation(name: str) -> str:
    for kind, beginnings in (("read", READS), ("write", WRITES), ("delete", DELETES)):
        if name.startswith(beginnings):
            return kind
    return "admin"


def _level(text: str) -> str:
    """By the field of a JSON line, otherwise by the first word that names one."""
    if text.startswith("{"):
        try:
            word = str(json.loads(text).get("level", "info"))
        except (ValueError, AttributeError):
            word = "info"
    else:
        match = LEVELS.search(text[:200])
        word = match[1] if match else "info"
    word = word.lower()
    return "error" if word in ("panic", "fatal", "error", "err") else "warning" if word.startswith("warn") else "info"


def unpacked(body: bytes, how: str) -> bytes:
    if how != "zstd":
        return body
    try:
        from compression import zstd  # Python 3.14 and later
    except ImportError:
        import zstandard

        return bytes(zstandard.ZstdDecompressor().decompressobj().decompress(body))
    return bytes(zstd.decompress(body))


def relabelled(labels: Labels, body: bytes) -> bytes:
    """All lines of a request, each as it is kept. One that is no JSON is told as text: nothing is lost in silence."""
    found = []
    for line in filter(None, body.split(b"\n")):
        try:
            told = json.loads(line)
        except ValueError:
            told = {"_msg": line.decode(errors="replace")}
        if kept := labels.line(told):
            found.append(json.dumps(kept))
    return ("\n".join(found) + "\n").encode() if found else b""


def serve(port: int, store: str, labels: Labels) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(200)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            try:
                kept = relabelled(labels, unpacked(body, self.headers.get("Content-Encoding", "")))
                if kept:
                    # As a form, which is what urllib calls it by itself, the store would take it, and keep nothing.
                    sent = urllib.request.Request(store, kept, {"Content-Type": "application/stream+json"})
                    urllib.request.urlopen(sent, timeout=30).close()
                self._answer(204)
            except (OSError, urllib.error.URLError) as error:
                print(f"warning: the store does not take them: {error}", file=sys.stderr, flush=True)
                self._answer(503)

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *words: object) -> None:
            """Requests are not logged: each would be a line to carry."""

    ThreadingHTTPServer(("", port), Handler).serve_forever()


if __name__ == "__main__":
    with open(os.environ["PEPPER"], "rb") as file:
        serve(int(sys.argv[1]), sys.argv[2], Labels(file.read().strip()))
