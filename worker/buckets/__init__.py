"""Buckets in sets: listed, read, packed, stored by content, and put back beneath what is there."""

COMPONENT = "buckets"
"""What they are called among the components of a set."""
