"""Backups: the worker on the host, and the commands of backup and restore."""
