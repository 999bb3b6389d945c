"""The start of every command. `./inv` runs this file itself, with signals held back until they have a handler."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

_ROOT = str(Path(__file__).resolve().parent.parent)


def main() -> NoReturn:
    """Run what was typed, and end: no thread that still waits for a host, and no unwritten line, holds that up."""
    sys.path[0] = _ROOT
    from converge.ui import interrupt

    interrupt.take()
    import site

    site.main()  # not before: it takes a third of the time in which Ctrl-C would be a traceback
    from converge.ui import output

    output.take()
    code = _run()
    if lost := _flush():
        code = max(code, _tell(lost))
    os._exit(code)


def _run() -> int:
    sys.argv[0] = "inv"
    from converge.ui.output import Unwritten

    try:
        from converge.ui.program import program

        # Invoke would forbid Python to keep what it compiles: each command would compile all of our modules anew, 0.3 s.
        keep = [] if sys.flags.dont_write_bytecode else ["--write-pyc"]
        program().run(["inv", *keep, *sys.argv[1:]])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Unwritten as lost:
        return _tell(lost)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    return 0


def _flush() -> Exception | None:
    from converge.ui.output import Unwritten

    try:
        sys.stdout.flush()
    except Unwritten as lost:
        return lost
    return None


def _tell(lost: Exception) -> int:
    if not getattr(lost, "silent", False):
        print(f"error: {lost}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    main()
