"""The inventory as a host sees it: every setting, its value, and where it came from."""

from __future__ import annotations

import json
from typing import Any

from converge.inventory import explain


def show(host: Any, as_json: bool) -> None:
    """Print every setting of a host; secrets show their reference, never their value."""
    rows = explain(host)
    if as_json:
        print(
            json.dumps(
                {
                    "host": host.name,
                    "groups": host.groups,
                    "settings": [dict(zip(("key", "value", "origin"), row, strict=True)) for row in rows],
                }
            )
        )
        return
    width = min(max(len(key) for key, _, _ in rows), 44)
    print(f"{host.name}  (groups: {', '.join(host.groups)})")
    for key, value, origin in rows:
        print(f"  {key:{width}}  {value[:90]:50}  {origin}")
