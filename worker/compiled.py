"""`python3 -m worker.compiled PATH`: the worker's zip with compiled modules.

Python does not cache modules of a zip, and would compile all of them at each start. The zip goes to stdout. It keeps the
sources, which another version of Python compiles as before.
"""

from __future__ import annotations

import importlib.util
import io
import marshal
import sys
import zipfile
from pathlib import Path

UNCHECKED = (0b01).to_bytes(4, "little")
"""The flag of PEP 552 for a .pyc that Python accepts without a check of its source."""


def compiled(code: bytes) -> bytes:
    """The same zip with a .pyc beside each module."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(code)) as before, zipfile.ZipFile(made, "w") as after:
        for name in before.namelist():
            source = before.read(name)
            program = compile(source, name, "exec", dont_inherit=True)
            head = importlib.util.MAGIC_NUMBER + UNCHECKED + importlib.util.source_hash(source)
            after.writestr(zipfile.ZipInfo(name), source)
            after.writestr(zipfile.ZipInfo(f"{name}c"), head + marshal.dumps(program))
    return made.getvalue()


if __name__ == "__main__":
    sys.stdout.buffer.write(compiled(Path(sys.argv[1]).read_bytes()))
