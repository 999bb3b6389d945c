"""Kernel settings: values that no kernel accepts are refused before a host is connected to."""

from __future__ import annotations

import re
from collections.abc import Iterator

from roles.settings.faults import Path

ROOTS = ("abi", "crypto", "debug", "dev", "fs", "kernel", "net", "sunrpc", "user", "vm")
"""The folders of /proc/sys."""
NUMBERS = r"-?[0-9]{1,20}([ \t]+-?[0-9]{1,20})*"
TEXTS = r"(vm\.numa_zonelist_order|fs\.(binfmt_misc|mqueue|verity|fanotify|inotify|quota|xfs)\b.*|.*\bcore_.*)"
# The settings that storage hosts get, with what they take.
RANGES = {
    "vm.swappiness": (0, 200),
    "vm.overcommit_memory": (0, 2),
    "vm.dirty_ratio": (0, 100),
    "vm.dirty_background_ratio": (0, 100),
    "vm.vfs_cache_pressure": (0, 2**31 - 1),
    "vm.max_map_count": (1, 2**31 - 1),
    "vm.panic_on_oom": (0, 2),
    "vm.zone_reclaim_mode": (0, 7),
    "net.core.somaxconn": (1, 2**31 - 1),
    "net.core.netdev_max_backlog": (1, 2**31 - 1),
    "net.ipv4.tcp_max_syn_backlog": (1, 2**31 - 1),
    "net.ipv4.tcp_fin_timeout": (1, 2**31 - 1),
    "fs.file-max": (8192, 2**63 - 1),
    "fs.nr_open": (1024, 2**31 - 1),
    "kernel.pid_max": (301, 4194304),
    "kernel.panic": (-(2**31), 2**31 - 1),
}
# These contradict what Docker sets for its networks: whichever writes last would win.
DOCKERS = ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding", "net.bridge.bridge-nf-call-iptables")


def faults(settings: dict[str, str]) -> Iterator[tuple[Path, str]]:
    """What is wrong with kernel settings, by key."""
    dotted: dict[str, str] = {}
    for key, value in settings.items():
        name = key.replace("/", ".")
        if why := _why(name, value):
            yield ("base", "sysctl", key), why
        if name in dotted:
            yield ("base", "sysctl", key), f"{dotted[name]} is the same setting"
        dotted[name] = key


def _why(name: str, value: str) -> str:
    root = name.partition(".")[0]
    if root not in ROOTS:
        return f"no kernel has it: settings begin with {', '.join(ROOTS[:-1])} or {ROOTS[-1]}"
    if not value.strip():
        return "it is empty: a setting has a number or a text"
    if name in DOCKERS and value.strip() == "0":
        return "Docker needs it to be 1, and sets it"
    if root in ("vm", "fs") and not re.fullmatch(TEXTS, name) and not re.fullmatch(NUMBERS, value):
        return "the kernel takes a number here"
    if name in RANGES:
        low, high = RANGES[name]
        if not re.fullmatch(r"-?[0-9]{1,20}", value):
            return "the kernel takes one number here"
        if not low <= int(value) <= high:
            return f"the kernel takes {low} to {high} here"
    return ""
