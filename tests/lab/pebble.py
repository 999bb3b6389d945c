"""Let's Encrypt's own test server with its name service on a lab host: its certificates last for minutes."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from pathlib import Path

from lab import clone
from lab.programs import _go
from tests.lab.conftest import Clone

VERSION = "v2.10.3"
PROGRAMS = ("pebble", "pebble-challtestsrv")
WHERE = "172.30.99.1"
"""The host's address for containers of its network."""


def built() -> Path:
    """The folder with both programs, built once and kept outside the checkout."""
    folder = clone.cache("bin", f"pebble-{VERSION}")
    if not all((folder / name).exists() for name in PROGRAMS):
        named = [f"github.com/letsencrypt/pebble/v2/cmd/{name}@{VERSION}" for name in PROGRAMS]
        variables = {**os.environ, "GOBIN": str(folder), "CGO_ENABLED": "0", "GOTOOLCHAIN": "auto"}
        subprocess.run([_go(), "install", "-ldflags", "-s -w", *named], env=variables, check=True)
    return folder


def started(host: Clone, seconds: int) -> str:
    """Starts the server; gives the authority that signed its own certificate, for clients to trust."""
    host.on_host("mkdir -p /root/pebble")
    for name in PROGRAMS:
        packed = gzip.compress((built() / name).read_bytes(), 1)
        # Beside it first: one that runs cannot be written to.
        into = f"cd /root/pebble && gunzip >{name}.new && chmod 755 {name}.new && mv {name}.new {name}"
        subprocess.run([*host.ssh(), into], input=packed, check=True, timeout=120)
    settings = {
        "listenAddress": "0.0.0.0:14000",
        "managementListenAddress": "0.0.0.0:15000",
        "certificate": "/root/pebble/server.crt",
        "privateKey": "/root/pebble/server.key",
        "httpPort": 80,
        "tlsPort": 443,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
        "retryAfter": {"authz": 1, "order": 1},
        "profiles": {"default": {"description": "short", "validityPeriod": seconds}},
    }
    host.on_host(f"""
cat >/root/pebble/config.json <<'ENDS'
{json.dumps({"pebble": settings})}
ENDS
[ -s /root/pebble/server.crt ] || sh /usr/local/lib/stowage/certificates sign /root/pebble server root {WHERE}
systemctl stop pebble pebble-names 2>/dev/null || :
systemd-run -q -u pebble-names /root/pebble/pebble-challtestsrv -dnsserver 127.0.0.1:8053 -defaultIPv4 127.0.0.1 -defaultIPv6 '' -http01 '' -https01 '' -tlsalpn01 '' -doh ''
systemd-run -q -u pebble -E PEBBLE_VA_NOSLEEP=1 -E PEBBLE_WFE_NONCEREJECT=0 /root/pebble/pebble -config /root/pebble/config.json -dnsserver 127.0.0.1:8053
timeout 20 sh -c 'until curl -q -sk --noproxy "*" -o /dev/null https://127.0.0.1:14000/dir; do sleep 0.2; done'
""")
    return host.on_host("cat /etc/stowage/authority/authority.crt")


def stopped(host: Clone) -> None:
    host.on_host("systemctl stop pebble")


def roots(host: Clone) -> str:
    """Its root certificates, which are new at each start."""
    ask = "curl -q -fsSk --noproxy '*' https://127.0.0.1:15000"
    return host.on_host(f"{ask}/roots/0; {ask}/intermediates/0")
