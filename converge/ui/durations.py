"""Times as a person would say them."""

from __future__ import annotations


def spoken(seconds: float) -> str:
    """A time in its two largest units."""
    days, hours, minutes = int(seconds // 86400), int(seconds // 3600 % 24), int(seconds // 60 % 60)
    return (
        f"{days} d {hours} h" if days else f"{hours} h {minutes} m" if hours else f"{minutes} m {int(seconds % 60)} s"
    )
