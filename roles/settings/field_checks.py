"""Checks of a value beyond its letters: an address, a folder that is free, a name that is not taken."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

SYSTEM = (
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/lost+found", "/proc", "/root", "/run"),
    *("/sbin", "/snap", "/sys", "/tmp", "/usr", "/var/backups", "/var/cache", "/var/lock", "/var/log", "/var/mail"),
    *("/var/run", "/var/spool", "/var/tmp", "/var/lib/apt", "/var/lib/containerd", "/var/lib/dbus", "/var/lib/docker"),
    *("/var/lib/dpkg", "/var/lib/private", "/var/lib/snapd", "/var/lib/sudo", "/var/lib/systemd"),
)
BUSY = ("/home", "/mnt", "/media", "/opt", "/srv", "/var", "/var/lib", "/var/lib/stowage", "/var/local", "/var/www")
PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
TAKEN_USERS = (
    r"root|daemon|bin|sys|sync|games|man|lp|mail|news|uucp|proxy|www-data|backup|list|irc|gnats|nobody|nogroup|"
    r"messagebus|sshd|systemd-.*|adm|tty|disk|sudo|shadow|staff|users|docker"
)
KNOWN_OPTIONS = frozenset(
    [
        "defaults",
        "rw",
        "async",
        "sync",
        "atime",
        "noatime",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
        "diratime",
        "nodiratime",
        "lazytime",
        "nolazytime",
        "auto",
        "dev",
        "nodev",
        "exec",
        "noexec",
        "suid",
        "nosuid",
        "dirsync",
        "nofail",
        "_netdev",
        "silent",
        "loud",
        "mand",
        "nomand",
        "iversion",
        "noiversion",
        "nosymfollow",
        "attr2",
        "noattr2",
        "discard",
        "nodiscard",
        "grpid",
        "bsdgroups",
        "nogrpid",
        "sysvgroups",
        "filestreams",
        "ikeep",
        "noikeep",
        "inode32",
        "inode64",
        "largeio",
        "nolargeio",
        "noalign",
        "nouuid",
        "noquota",
        "quota",
        "uquota",
        "usrquota",
        "uqnoenforce",
        "qnoenforce",
        "gquota",
        "grpquota",
        "gqnoenforce",
        "pquota",
        "prjquota",
        "pqnoenforce",
        "swalloc",
        "wsync",
        "dax",
        "barrier",
        "nobarrier",
    ]
)
VALUED_OPTIONS = (
    r"(allocsize|logbsize)=[0-9]+[kmg]?|(logbufs|sunit|swidth)=[0-9]+|(logdev|rtdev)=/dev/.+|dax=(inode|always|never)|"
    r"(context|fscontext|defcontext|rootcontext|comment|errortag)=.+|(x-|X-).+"
)
"""What mount and XFS take. A kernel that knows none of it does not mount."""
UNFIT_OPTIONS = {
    "ro": "nothing could be written",
    "noauto": "it would not be mounted at boot",
    "bind": "a drive is mounted by its label",
    "rbind": "a drive is mounted by its label",
    "remount": "a drive is mounted by its label",
    "move": "a drive is mounted by its label",
    "loop": "a drive is a disk, not a file",
    "user": "everybody could unmount it",
    "users": "everybody could unmount it",
    "norecovery": "nothing could be written",
}


def address(value: str) -> str:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        raise ValueError("an IP address such as 172.30.99.11") from None
    if getattr(address, "scope_id", None):
        raise ValueError("an IP address without a zone")
    return str(address)


def subnet(value: str) -> str:
    try:
        subnet = ipaddress.IPv4Network(value)
    except ValueError as error:
        why = "its host bits must be zero" if "host bits" in str(error) else "an IPv4 network such as 172.30.99.0/24"
        raise ValueError(why) from None
    if not 8 <= subnet.prefixlen <= 29:
        raise ValueError("a network from /8 to /29")
    if str(subnet) != value:
        raise ValueError(f"write it as {subnet}")
    if (
        subnet.is_multicast
        or subnet.is_reserved
        or subnet.is_loopback
        or subnet.is_link_local
        or value.startswith("0.")
    ):
        raise ValueError(f"a private network: within {', '.join(PRIVATE)}")
    return value


def is_private(subnet: str) -> bool:
    """Whether these addresses are private, so that nobody on the internet has them."""
    return any(ipaddress.IPv4Network(subnet).subnet_of(ipaddress.IPv4Network(private)) for private in PRIVATE)


def listening(value: str) -> str:
    address = ipaddress.ip_address(value)
    unfit = address.is_multicast or address.is_link_local or value == "255.255.255.255"
    if unfit or (address.version == 4 and value.startswith("0.") and value != "0.0.0.0"):
        raise ValueError("an address of the host, such as 127.0.0.1; 0.0.0.0 is all of them")
    return value


def options(value: str) -> str:
    for option in value.split(","):
        if why := UNFIT_OPTIONS.get(option):
            raise ValueError(f"with {option} {why}")
        if option not in KNOWN_OPTIONS and not re.fullmatch(VALUED_OPTIONS, option):
            raise ValueError(f"XFS has no option {option}: defaults,noatime is a good choice")
    return value


def whole_disk(value: str) -> str:
    if re.search(r"-part\d+$", value):
        raise ValueError("this is a partition: name the whole disk, without -part")
    return value


def free_user(value: str) -> str:
    if re.fullmatch(TAKEN_USERS, value):
        raise ValueError(f"{value} is a user or group of the system: the data needs one of its own, such as stowage")
    return value


def free_network(value: str) -> str:
    if value in ("bridge", "host", "none", "default", "ingress"):
        raise ValueError(f"{value} is a network of Docker's own")
    return value


def web(value: str) -> str:
    if (port := re.match(r"https?://[^/]*:([0-9]+)", value)) and not 0 < int(port[1]) < 65536:
        raise ValueError("a port is a number from 1 to 65535")
    return value


def leads_to_port(value: str) -> str:
    _, _, port = value.partition(":")
    if port and (not 0 < int(port) < 65536 or port.startswith("0")):
        raise ValueError("a port is a number from 1 to 65535")
    return value


def with_unit(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f"a size with its unit, such as {value}GiB")
    return value


_HOST_NAME = r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


def host_name(value: str) -> str:
    """A name by which clients ask, as they send it: in small letters of ASCII, without a dot at its end."""
    if re.fullmatch(_HOST_NAME, value):
        return value
    if value.startswith("*."):
        raise ValueError("each name has a row of its own: no authority signs a wildcard for a proof at port 80")
    meant = value.strip().rstrip(".").lower()
    if not meant.isascii():
        with suppress(UnicodeError):
            meant = meant.encode("idna").decode()
    hint = f"; is it {meant}?" if meant != value and re.fullmatch(_HOST_NAME, meant) else ""
    raise ValueError(f"a host name in small letters, such as grafana.example.org{hint}")


def no_dots(value: str) -> str:
    if any(part in (".", "..", "") for part in value.split("/")[1:]):
        raise ValueError("a path without . or .. or // in it")
    return value


def mountable(value: str) -> str:
    if value in BUSY or any(value == folder or value.startswith(f"{folder}/") for folder in SYSTEM):
        raise ValueError("the system lives there: take a folder beneath /mnt or /srv, or one of its own")
    return value


def bindable(value: str) -> str:
    if value.split("/")[1] in ("proc", "sys", "dev") or f"{value}/".startswith("/run/secrets/"):
        raise ValueError("the container has this already: choose another path")
    return value


def known(name: str, names: Iterable[str]) -> str:
    """An unknown name, with the known name that is nearest to it, or with all of them."""
    names = list(names)
    near = difflib.get_close_matches(name, names, 1, 0.5)
    if near:
        return f"{name}; {near[0]} is near"
    return f"{name}; it has {', '.join(names) or 'nothing'}"


def there_is_such_a_day(value: str) -> str:
    from datetime import datetime  # loaded only when a setting needs it

    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("there is no such day or moment") from None
    return value
