"""The engine: hosts, resources, probe, plan, apply, report. It knows nothing of storage."""

import atexit
import gc
import os
import sys

# Invoke switches this off for the tasks it loads. ./inv asks it not to; where .venv/bin/inv is called, every command would compile
# all of the project anew, 0.3 s.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)
# Most commands end within a second: looking for garbage while libraries load is a tenth of that. It stays off, too: begun in
# the middle of a send of Paramiko, which holds a lock, it may close a forgotten channel, which waits for that very lock for
# ever. What goes on for long looks for it where nothing is being sent.
gc.disable()
# At its end Python looks through all of them once more, whatever was said; what is frozen it leaves alone. It is 50 ms.
atexit.register(gc.freeze)
# Pydantic would look for plugins in every package that is installed: 10 ms.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
