"""The engine: hosts, resources, probe, plan, apply, report. It knows nothing of storage."""

import gc
import sys

# Most commands end within a second: looking for garbage while libraries load is a tenth of that. A deploy that goes on
# to change something turns it on again.
gc.disable()
# A thread that has an answer of the network waits this long for one that is busy loading libraries; Python's own 5 ms,
# at each of a dozen answers, would be seen.
sys.setswitchinterval(0.0005)
