"""64 hosts checked at once, against as many `ssh` at once. All 64 are names of the one lab host, which does all the work."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from checkout import Lab, by_kind, copy, host, hosts_of, lab
from measure import INV, ROOT, ROUNDS, Failed, run, table, turns, verdict, write
from noop import raw_script

MANY = int(os.environ.get("HOSTS", "64"))
HOSTS = """all:
  children:
    weatherlearn:
      children:
        lab:
          hosts:
"""
DROP_IN = "/etc/ssh/sshd_config.d/stowage-bench.conf"


def main() -> None:
    here = lab()
    script = raw_script(by_kind(ROOT))
    without = ",".join(role for role in host().settings.roles if role != "buckets")
    with copy() as place, _as_many_logins_as_come(here):
        names = _named(place)
        times = turns(
            {
                f"Stowage: `inv check` of {MANY}": lambda: _checked(place, names),
                "Stowage, without the API": lambda: _checked(place, names, "--role", without),
                f"{MANY} `ssh host sh <raw.sh`": lambda: _all_at_once(here, script),
                f"{MANY} `ssh host true`": lambda: _all_at_once(here, "true\n"),
            },
            min(ROUNDS, 7),
        )
    ours, inside, raw, nothing = times.values()
    remark = "All names lead to one lab host on this machine, which is the bottleneck of all three; hosts of their own would leave the operator's side."
    ratios = [
        verdict(f"to {MANY} raw reads", ours.median / raw.median, 1.0),
        verdict(f"without the API to {MANY} raw reads, which have none", inside.median / raw.median, 1.0),
        f"- to {MANY} `ssh host true`: {ours.median / nothing.median:.2f}",
    ]
    write("hosts", f"{MANY} hosts", [remark, "", *table(times), "", *ratios])


def _named(place: Path) -> list[str]:
    """Give the lab host of a copy many names."""
    names = [f"many{number}" for number in range(1, MANY + 1)]
    settings = place / "inventory" / "host_vars"
    for name in names:
        (settings / f"{name}.yml").write_text((settings / "lab.yml").read_text())
    hosts = "".join(f"            {name}:\n" for name in names)
    hosts_of(place, HOSTS + hosts, names)
    for template in (place / "templates").iterdir():
        # Files on the host contain the name `lab`.
        template.write_text(template.read_text().replace("{{ host.name }}", "lab"))
    return names


def _checked(place: Path, names: list[str], *flags: str) -> None:
    run([INV, "check", "--host", ",".join(names), *flags], f"{names[-1]}: nothing to do", cwd=place)


@contextmanager
def _as_many_logins_as_come(here: Lab) -> Iterator[None]:
    """sshd turns away some of more than ten logins at once; 64 hosts would have an sshd each."""
    run(here.ssh(f"mkdir -p {Path(DROP_IN).parent}; echo MaxStartups 1000 >{DROP_IN}; systemctl reload ssh"))
    time.sleep(1)
    try:
        yield
    finally:
        run(here.ssh(f"rm -f {DROP_IN}; systemctl reload ssh"))


def _all_at_once(here: Lab, script: str) -> None:
    started = []
    for _ in range(MANY):
        process = subprocess.Popen(
            here.ssh("sh"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert process.stdin
        process.stdin.write(script)
        process.stdin.close()
        started.append(process)
    for process in started:
        assert process.stdout
        process.stdout.read()
    bad = [process.wait() for process in started if process.wait()]
    if bad:
        raise Failed(f"{len(bad)} of {MANY} ssh ended with {bad[0]}")


if __name__ == "__main__":
    main()
