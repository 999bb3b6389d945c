"""Buckets in sets: listed, read, packed, stored by content, and restored below the live versions."""

COMPONENT = "buckets"
"""The name of the component in a set."""
