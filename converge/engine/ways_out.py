"""What a person may type after a change has failed: the same deploy again does not mend what made it fail."""

from __future__ import annotations

import re

from converge.engine.resource import Resource
from converge.errors import for_host
from converge.shell import quote

# A pattern of what a failed command prints, and what helps against that error.
_ADVICE = (
    ("no backup has ended well within the last hour", "inv backup"),
    ("previous files are put back", "mend in the inventory what its own words above are about"),
    ("refused by its check", "mend the file of templates/ or files/, or the setting, that its own words above are about"),
    ("no space left on device|disk quota exceeded", "on the host: df -h; df -i; make room"),
    ("operation not permitted", "on the host: lsattr -d {path}; if it shows an i: chattr -i {path}"),
    ("read-only file system", "on the host: findmnt -T {path}; dmesg | tail -n 30; a filesystem with errors is set read-only"),
    ("is masked", "on the host: systemctl unmask {name}"),
    ("cannot connect to the docker daemon|docker.sock", "on the host: systemctl status docker; journalctl -u docker -n 30"),
    ("is paused|paused container", "on the host: docker ps --filter status=paused; docker unpause NAME"),
    ("port is already allocated|address already in use", "on the host: ss -ltnp, which names what holds the port"),
    ("could not resolve|name resolution|no such host", "on the host: getent hosts deb.debian.org; resolvectl status, or /etc/resolv.conf"),
    ("network is unreachable|no route to host|i/o timeout|connection timed out|failed to connect", "on the host: ip route; nft list ruleset, or iptables -S"),
    ("could not get lock|lock-frontend", "on the host: ps aux | grep -E 'apt|dpkg'; wait for it, or end it"),
    ("unmet dependencies|unable to locate package|has no installation candidate", "on the host: apt-get update; apt-cache policy PACKAGE"),
    ("text file busy|device or resource busy|target is busy", "on the host: lsof {path}"),
)  # fmt: skip


def way_out(resource: Resource, why: str, host: str, hint: str = "") -> str:
    """The next step after a change of this resource failed with these words; a hint of its own goes first."""
    if hint:
        return for_host(hint, host)
    name, path = resource.name, str(getattr(resource, "path", resource.name))
    matching = [advice for pattern, advice in _ADVICE if re.search(pattern, why, re.IGNORECASE)]
    known = [
        advice for advice in (*matching, resource.way_out) if advice and (path[:1] == "/" or "{path}" not in advice)
    ]
    container = getattr(resource, "container", "")
    first = (
        known[0].format(path=quote(path), name=quote(name), container=container) if known else "mend what it says above"
    )
    return f"{for_host(first.removesuffix(' --service '), host)}; then: inv deploy --host {host}"
