"""The engine: hosts, resources, probe, plan, apply, report. It knows nothing of storage."""

import atexit
import gc
import os
import sys

# Invoke switches this off for the tasks it loads. ./inv asks it not to; where .venv/bin/inv is called, every command would compile
# all of the project anew, 0.3 s.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)
# Most commands end within a second, and collecting garbage while libraries load takes a tenth of that. It also stays off
# afterwards: a collection in the middle of a send of Paramiko, which holds a lock, may close a forgotten channel, which waits
# for that lock for ever. Long commands collect garbage where nothing is being sent.
gc.disable()
# At exit Python collects garbage once more even so, except what is frozen: this saves 50 ms.
atexit.register(gc.freeze)
# Pydantic would look for plugins in every package that is installed: 10 ms.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
