"""The calls of MinIO's API that the roles make: listed from their code, and recorded during tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROLES = Path(__file__).resolve().parents[1] / "roles"
SCREENS = {"status.py", "info.py", "usage.py", "trace.py", "bucket_commands.py"}
RECEIVERS = {"client", "clients", "admins", "other", "reader", "writer"}
"""Names of variables in the roles that hold a client of minio-py, besides `administrator(...)`."""


def in_the_code() -> set[str]:
    """Each method of minio-py, and each path of the admin API with its verb; not those of screens."""
    return {
        call
        for file in sorted(ROLES.rglob("*.py"))
        if file.name not in SCREENS
        for call in _calls(ast.parse(file.read_text()))
    }


def _calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id == "admin":
            method, path = node.args[1:3]
            assert isinstance(method, ast.Constant) and isinstance(path, ast.Constant), ast.unparse(node)
            yield f"{method.value} {path.value}"
        elif isinstance(node.func, ast.Attribute) and _is_a_client(node.func.value) and node.func.attr[0] != "_":
            yield node.func.attr


def _is_a_client(of: ast.expr) -> bool:
    while isinstance(of, ast.Subscript):
        of = of.value
    if isinstance(of, ast.Call) and isinstance(of.func, ast.Name):
        return of.func.id == "administrator"
    return isinstance(of, ast.Name) and of.id in RECEIVERS


def record(monkeypatch: Any) -> set[str]:
    """Records, from now on, the names of all calls of minio-py and of our `admin` in the returned collection."""
    from minio import Minio
    from minio.minioadmin import MinioAdmin

    from roles.minio import account_kinds, accounts, bucket_kinds, policy_kinds, tier_gone, tiers
    from roles.minio import admin as admin_api

    made: set[str] = set()

    def recorded(name: str, of: Any) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            answer = of(*args, **more)
            made.add(name)
            return answer

        return call

    for kind in (Minio, MinioAdmin):
        for name, method in vars(kind).items():
            if callable(method) and not name.startswith("_"):
                monkeypatch.setattr(kind, name, recorded(name, method))
    plain = admin_api.admin

    def admin(client: Any, method: str, path: str, *args: Any, **more: Any) -> bytes:
        answer = plain(client, method, path, *args, **more)
        made.add(f"{method} {path}")
        return answer

    for module in (account_kinds, accounts, admin_api, bucket_kinds, policy_kinds, tier_gone, tiers):
        monkeypatch.setattr(module, "admin", admin)
    return made
