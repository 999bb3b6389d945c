"""A first deploy, against its own commands as a script that a person sends through `ssh host sh`.

Both start from a blank lab host. What only an API can do (buckets, the proof of the data path) is no part of the script.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from checkout import Lab, copy, host, hosts_of, lab
from measure import INV, ROOT, Failed, Times, run, table, verdict, write

ROUNDS = int(os.environ.get("ROUNDS_FIRST", "4"))
OURS, THEIRS = "first1", "first2"
HOSTS = f"""all:
  children:
    weatherlearn:
      children:
        lab:
          hosts:
            {OURS}:
            {THEIRS}:
"""
SETTINGS = "LC_ALL=C; export LC_ALL; umask 077\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH\n"


def main() -> None:
    times = {"Stowage: `inv deploy --yes`": Times(), "the same commands as a script": Times()}
    ours, script = times.values()
    differences: list[str] = []
    with copy() as place:
        hosts_of(place, HOSTS, (OURS, THEIRS))
        try:
            for number in range(ROUNDS + 1):
                print(f"\r{number}/{ROUNDS}", end="", file=sys.stderr, flush=True)
                differences.append(_round(place, ours, script, turned=bool(number % 2)))
                if not number:  # the first round only fills the caches between this machine and the packages
                    ours.seconds.clear(), script.seconds.clear()
        except Failed as error:
            (script if "ssh" in str(error) else ours).failure = str(error)
        finally:
            print(file=sys.stderr)
            for name in (OURS, THEIRS):
                subprocess.run([INV, "lab.down", "--host", name], cwd=place, check=False, capture_output=True)
    lines = [
        "A blank lab host each, all roles but buckets; the packages come from the network both times.",
        "",
        *table(times, decimals=1),
        "",
    ]
    lines += (
        [f"- afterwards `inv check` of the host of the script says: {'; '.join(sorted(set(differences)))}"]
        if differences
        else []
    )
    write("first", "A first deploy", [*lines, verdict("to the script", ours.median / script.median, 1.2)])


def _round(place: Path, ours: Times, script: Times, turned: bool) -> str:
    """Run both once. They take turns at being first, as the second may find packages in a cache on the way."""
    for name in (OURS, THEIRS):
        run([INV, "lab.down", "--host", name], cwd=place)
        run([INV, "lab.up", "--host", name], cwd=place)
    roles = [role for role in host(place, OURS).settings.roles if role != "buckets"]
    steps = _steps(place, roles)
    deploy = [INV, "deploy", "--yes", "--host", OURS, "--role", ",".join(roles)]
    both = [
        (ours, lambda: run(deploy, "changes made", cwd=place)),
        (script, lambda: _carry_out(lab(place, THEIRS), steps)),
    ]
    for times, act in reversed(both) if turned else both:
        begun = time.perf_counter()
        act()
        times.seconds.append(time.perf_counter() - begun)
    check = [INV, "check", "--host", THEIRS, "--role", ",".join(roles)]
    done = subprocess.run(check, cwd=place, capture_output=True, text=True, check=False)
    return (done.stdout.strip().splitlines() or ["nothing"])[-1].strip()


def _steps(place: Path, roles: list[str]) -> list[Any]:
    """The steps that a plan of a blank host would take, neighbouring shell steps as one script."""
    from converge.engine import run as runs
    from converge.engine.resource import Send, Shell
    from roles import named

    blank = host(place, THEIRS)
    plan_run = runs.prepare(blank, [named(role) for role in roles])
    try:
        runs.look(plan_run, "bench", lock=False)
        assert plan_run.plan
        steps: list[Any] = []
        for change in plan_run.plan.todo + plan_run.plan.later:
            for step in change.resource.fix(change.before):
                if isinstance(step, Send):
                    steps.append(step)
                elif isinstance(step, Shell):
                    text = f"( set -e\n{step.script}\n) || exit\n"
                    steps[-1:] = (
                        [steps[-1] + text] if steps and isinstance(steps[-1], str) else [*steps[-1:], SETTINGS + text]
                    )
        return steps
    finally:
        plan_run.close()


def _carry_out(there: Lab, steps: list[Any]) -> None:
    for step in steps:
        if isinstance(step, str):
            run(there.ssh("sh"), stdin=None, input=step)
            continue
        to = subprocess.Popen(there.ssh(step.command), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert to.stdin
        for chunk in step.source():
            to.stdin.write(chunk)
        to.stdin.close()
        if to.wait():
            raise Failed(f"{step.command} ended with {to.returncode}")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
