"""`inv deploy` with nothing to do, against reading the same by hand, by pyinfra and by Ansible, near and far."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import environment
import measure
from checkout import Lab, by_kind, copy, host, lab, move
from delay import distance, round_trip
from measure import INV, ROOT, Failed, run, turns, verdict

PEERS = Path(__file__).resolve().parent / "peers"
FEWER = int(os.environ.get("FEWER", "3"))
"""Rounds with Ansible: fewer, as one takes as long as fifty of ours."""

EXPRESSED = """What each peer can say of the host's state, and so reads:

| | Stowage | raw | pyinfra | Ansible |
| --- | --- | --- | --- | --- |
| system, packages, units, files, directories, group, user | yes | yes | all but the system | all but the system |
| `daemon.json` by key | yes | reads it | as a whole file | as a whole file |
| kernel settings | yes | yes | yes | no module in ansible-core |
| drives: blank, ours or foreign; mount points beneath the mount | yes | reads them | no | no |
| mounts: what is mounted, and fstab | yes | reads them | something is mounted there | no module in ansible-core |
| network, containers | definition, files and image | reads them | a thing of that name exists | no module in ansible-core |
| images by content | yes | reads them | no | no |
| services answer over HTTP | yes | yes | no | yes |
| configuration that is not loaded yet | yes | reads it | no | no |
| buckets, by the API | yes, where said | no | no | no |

raw is `ssh host sh` with bench/peers/raw.sh, which only reads and compares nothing. pyinfra runs with `-y` (without its first, dry pass).
Ansible gathers no facts, pipelines, and keeps one connection for a run, but none from one run to the next.
"""


def main() -> None:
    environment.peers()
    here = lab()
    everything = by_kind(ROOT)
    with copy() as place, tempfile.TemporaryDirectory(prefix="stowage-peers-") as folder:
        peers = Path(folder)
        (peers / "raw.sh").write_text(raw_script(everything))
        (peers / "wanted.json").write_text(json.dumps(_for_peers(everything, peers)))
        measure.write("noop", "A deploy with nothing to do", [EXPRESSED])
        for part in (against_raw, against_peers):
            for milliseconds in (0, 50):
                with distance("127.0.0.1", here.port, milliseconds) as port:
                    move(place, port)
                    lines = part(milliseconds, place, peers, lab(place))
                title = f"A deploy with nothing to do, at {milliseconds} ms of round trip, {part.__doc__}"
                measure.write(f"noop {part.__name__} at {milliseconds} ms", title, lines)


def against_raw(milliseconds: int, place: Path, peers: Path, there: Lab) -> list[str]:
    """against raw"""
    script = (peers / "raw.sh").read_text()
    without = ",".join(role for role in host().settings.roles if role != "buckets")
    times = turns(
        {
            "Stowage": lambda: run([INV, "deploy"], "nothing to do", cwd=place),
            "raw": lambda: run(there.ssh("sh"), "Pid", stdin=None, input=script),
            "Stowage, without the API": lambda: run([INV, "deploy", "--role", without], "nothing to do", cwd=place),
            "`ssh host true`": lambda: run(there.ssh("true")),
        }
    )
    really = f"The round trip of a connection that stands is {round_trip(milliseconds) * 1000:.1f} ms."
    ours, raw, inside, _ = times.values()
    limit = 1.5 if milliseconds else 1.8
    ratios = [
        verdict("Stowage to raw", ours.median / raw.median, limit),
        verdict("Stowage without the API to raw", inside.median / raw.median, limit),
    ]
    return [*([really, ""] if milliseconds else []), *measure.table(times), "", *ratios]


def against_peers(milliseconds: int, place: Path, peers: Path, there: Lab) -> list[str]:
    """against pyinfra and Ansible"""
    programs = environment.peers()
    times = turns(
        {
            "Stowage": lambda: run([INV, "deploy"], "nothing to do", cwd=place),
            "pyinfra": _pyinfra(programs, peers, there),
            "Ansible with Mitogen": _ansible(programs, peers, there, mitogen=True),
            "Ansible, pipelining": _ansible(programs, peers, there, mitogen=False),
        },
        FEWER,
    )
    ours, *others = times.items()
    wanted = {"pyinfra": 8}
    ratios = [
        verdict(f"{name} to Stowage", peer.median / ours[1].median, wanted.get(name, 20), most=False)
        for name, peer in others
    ]
    return [*measure.table(times), "", *ratios]


def raw_script(kinds: dict[str, list[Any]]) -> str:
    """raw.sh, with the names of what it reads."""
    projects = kinds["Project"]
    services = [service for project in projects for service in project.services.values()]
    paths = [resource.path for resource in kinds["File"]] + [resource.path for resource in projects]
    names = {
        "packages": sorted({name for package in kinds["Packages"] for name in package.names}),
        "units": [resource.unit for resource in kinds["Unit"]],
        "files": paths,
        "directories": [resource.path for resource in kinds["Directory"]]
        + [resource.path for resource in kinds["JsonKeys"]],
        "read": [resource.path for resource in kinds["JsonKeys"] + kinds["Sysctl"]],
        "user": [resource.name for resource in kinds["User"]],
        "mounts": [resource.path for resource in kinds["Mount"]],
        "objects": [service["container_name"] for service in services]
        + [resource.network for resource in kinds["Network"]]
        + [resource.reference for resource in kinds["Image"]],
        "bound": sorted({volume["target"] for service in services for volume in service["volumes"]}),
        "urls": [url for answer in kinds["Answers"] for url in answer.urls],
    }
    return "".join(f"{key}='{' '.join(values)}'\n" for key, values in names.items()) + (PEERS / "raw.sh").read_text()


def _for_peers(kinds: dict[str, list[Any]], folder: Path) -> dict[str, Any]:
    """The same for pyinfra and Ansible, whose files lie in a folder."""
    texts = [
        (resource.path, resource.text, resource.owner, resource.group, resource.mode) for resource in kinds["File"]
    ]
    texts += [(resource.path, resource.text(), "root", "root", "0644") for resource in kinds["Project"]]
    texts += [(resource.path, _file_of_host(resource.path), "root", "root", "0644") for resource in kinds["JsonKeys"]]
    files = []
    for number, (path, text, owner, group, mode) in enumerate(texts):
        source = folder / f"file{number}"
        source.write_text(text)
        files.append({"path": path, "source": str(source), "owner": owner, "group": group, "mode": mode})
    return {
        "packages": sorted({name for package in kinds["Packages"] for name in package.names}),
        "units": [resource.unit for resource in kinds["Unit"]],
        "files": files,
        "directories": [
            {key: getattr(resource, key) for key in ("path", "owner", "group", "mode")}
            for resource in kinds["Directory"]
        ],
        "sysctl": [{"key": resource.key, "value": resource.value} for resource in kinds["Sysctl"]],
        "user": kinds["User"][0].name,
        "mounts": [{"path": resource.path, "device": f"LABEL={resource.label}"} for resource in kinds["Mount"]],
        "networks": [resource.network for resource in kinds["Network"]],
        "containers": [
            service["container_name"] for project in kinds["Project"] for service in project.services.values()
        ],
        "urls": [url for answer in kinds["Answers"] for url in answer.urls],
    }


def _file_of_host(path: str) -> str:
    """A file of the host as it is: Stowage compares it by key, its peers as a whole."""
    return run(lab().ssh("cat", path))


def _pyinfra(programs: Path, peers: Path, there: Lab) -> Callable[[], object]:
    data = {
        "ssh_port": there.port,
        "ssh_user": "root",
        "ssh_key": str(there.key),
        "ssh_known_hosts_file": str(there.known_hosts),
        "ssh_strict_host_key_checking": "yes",
    }
    inventory = peers / f"inventory{there.port}.py"
    inventory.write_text(f"lab = [('127.0.0.1', {data!r})]\n")
    surroundings = {**os.environ, "WANTED": str(peers / "wanted.json"), "PYINFRA_PROGRESS": "off"}
    command = [programs / "pyinfra", "-y", inventory, PEERS / "deploy_pyinfra.py"]

    def once() -> None:
        process = subprocess.run(
            [str(word) for word in command], env=surroundings, cwd=peers, capture_output=True, text=True, check=False
        )
        total = [line for line in process.stderr.splitlines() + process.stdout.splitlines() if "Grand total" in line]
        counts = [word for word in (total or [""])[-1].split() if word.isdigit() or word == "-"]
        if process.returncode or len(counts) < 3 or counts[1] not in ("0", "-"):
            raise Failed(f"pyinfra ended with {process.returncode}: {(process.stderr + process.stdout).strip()[-400:]}")

    return once


def _ansible(programs: Path, peers: Path, there: Lab, mitogen: bool) -> Callable[[], object]:
    options = [option for option in there.options if option not in ("-i", str(there.key))]
    inventory = peers / f"inventory{there.port}.ini"
    inventory.write_text(
        f"lab ansible_host=127.0.0.1 ansible_port={there.port} ansible_user=root ansible_ssh_private_key_file={there.key}\n"
    )
    (peers / "ansible.cfg").touch()
    settings = {
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_SSH_ARGS": " ".join([*options, "-o ControlMaster=auto -o ControlPersist=5s"]),
        "ANSIBLE_CONFIG": str(peers / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        "LC_ALL": "C.UTF-8",
    }
    if mitogen:
        settings |= {
            "ANSIBLE_STRATEGY_PLUGINS": str(environment.mitogen(programs)),
            "ANSIBLE_STRATEGY": "mitogen_linear",
        }
    command = [
        programs / "ansible-playbook",
        "-i",
        inventory,
        "-e",
        f"@{peers / 'wanted.json'}",
        PEERS / "playbook.yml",
    ]

    def once() -> None:
        with tempfile.TemporaryDirectory(prefix="cp-") as sockets:
            place = {"ANSIBLE_SSH_CONTROL_PATH_DIR": sockets, "ANSIBLE_HOME": str(peers / "ansible")}
            run(command, r"changed=0 +unreachable=0 +failed=0", env={**os.environ, **settings, **place})

    return once


if __name__ == "__main__":
    main()
