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
    r"(?i)(\b(?:X-Amz-Credential=|Credential=|AWSAccessKeyId=|access[ _]?key(?: ?id)?[\"']?\s*[:=]\s*[\"']?))([A-Za-z0-9._@+-]{3,128})"
)
LEVELS = re.compile(r"(?i)\b(?:level[=\":\s]+)?(panic|fatal|error|err|warning|warn)\b")


class Labels:
    """Labels and pseudonyms; one pepper gives one key the same name for ever, and nobody else can work it out."""

    def __init__(self, pepper: bytes) -> None:
        self._pepper = pepper

    def pseudonym(self, key: str) -> str:
        return "key-" + hmac.new(self._pepper, key.encode(errors="surrogatepass"), hashlib.sha256).hexdigest()[:12]

    def clean(self, text: str) -> str:
        """A text without signatures and tokens, its access keys as pseudonyms."""
        for pattern, instead in SECRETS:
            text = pattern.sub(instead, text)
        return KEYS.sub(lambda found: found[1] + self.pseudonym(found[2]), text)

    def line(self, told: dict[str, str]) -> dict[str, str] | None:
        """A line as it is kept; None is one that nobody needs."""
        if told.get("stream") == "audit":
            kept = self._audit(told)
        elif "PRIORITY" in told or "_TRANSPORT" in told:
            kept = self._journal(told)
        else:
            kept = self._container(told)
        return kept and {name: self.clean(value) for name, value in kept.items()}

    def _audit(self, told: dict[str, str]) -> dict[str, str] | None:
        # The agent takes the name of the call for the text of the line.
        name, status = told.get("_msg", ""), told.get("api.statusCode", "")
        if "/" in name:  # what nodes ask of one another
            return None
        kept = {key: value for key, value in told.items() if key.split(".")[0] not in NEVER}
        if key := kept.pop("accessKey", ""):
            kept["who"] = self.pseudonym(key)
        if user := kept.pop("parentUser", ""):  # whose key it is
            kept["parentUser"] = self.pseudonym(user)
        incoming = told.get("trigger") == "incoming"
        kept["operation_type"] = _operation(name) if incoming else "internal"
        kept["level"] = {"4": "warning", "5": "error"}.get(status[:1], "info")
        if status in ("401", "403"):
            kept["security_event"] = "access_denied"
        return kept

    def _journal(self, told: dict[str, str]) -> dict[str, str]:
        kept = {key: value for key, value in told.items() if key in OF_THE_HOST or key in ("_time", "_msg")}
        # Anybody on the host may write a line with a priority that is no number.
        level = {**dict.fromkeys("0123", "error"), "4": "warning"}.get(told.get("PRIORITY", ""), "info")
        stream = "kernel" if told.get("_TRANSPORT") == "kernel" else "journal"
        return {**kept, "source": "host", "stream": stream, "level": level}

    def _container(self, told: dict[str, str]) -> dict[str, str]:
        """Docker's line: its attributes say of which container and of which project it is."""
        container = told.get("attrs.tag", "")
        source = told.get("attrs.com.docker.compose.project") or container or "unknown"
        text = told.get("_msg", "").rstrip("\n")
        return {
            # The store takes the time of arrival for a line without one.
            **({"_time": told["_time"]} if "_time" in told else {}),
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
        except (ValueError, AttributeError, RecursionError):
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
    """All lines of a request, each as it is kept."""
    kept = filter(None, (labels.line(fields(line)) for line in body.split(b"\n") if line))
    return "".join(f"{json.dumps(line)}\n" for line in kept).encode()


def fields(line: bytes) -> dict[str, str]:
    """The fields of a line. One that is no record is told as text: nothing is lost in silence.

    No line is an error: the agent would send its batch again and again, and all other lines would wait behind it.
    """
    try:
        told = json.loads(line)
        return {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in told.items()
            if value is not None
        }
    except (ValueError, AttributeError, RecursionError):
        return {"_msg": line.decode(errors="replace")}


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
