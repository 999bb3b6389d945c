"""Stowage's backup worker: it runs on the host, in a container of its own, and needs nothing of the operator's side."""
