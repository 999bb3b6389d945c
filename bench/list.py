"""`inv --list`, against what every program over Fabric pays before its first line."""

from __future__ import annotations

import sys

from measure import INV, ROOT, run, table, turns, verdict, write


def main() -> None:
    times = turns(
        {
            "`inv --list`": lambda: run([INV, "--list"], "deploy", cwd=ROOT),
            '`python -c "import fabric"`': lambda: run([sys.executable, "-c", "import fabric"], cwd=ROOT),
            '`python -c "import invoke.main"`': lambda: run([sys.executable, "-c", "import invoke.main"], cwd=ROOT),
            "`python -c pass`": lambda: run([sys.executable, "-c", "pass"], cwd=ROOT),
        },
        rounds=21,
    )
    ours, fabric, *_ = times.values()
    write(
        "list",
        "The list of commands",
        [*table(times, 1000, 0, "ms"), "", verdict("to `import fabric`", ours.median / fabric.median, 1.3)],
    )


if __name__ == "__main__":
    main()
