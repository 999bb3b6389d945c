"""The engine: hosts, resources, probe, plan, apply, report. It knows nothing of storage."""

import gc

# Most commands end within a second: looking for garbage while libraries load is a tenth of that. A deploy that goes on
# to change something turns it on again.
gc.disable()
