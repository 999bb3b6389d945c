"""The engine: hosts, resources, probe, plan, apply, report. It knows nothing of storage."""
