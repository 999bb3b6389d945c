"""Heavy libraries, imported only where they are needed, and by one thread at a time."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from types import ModuleType
from typing import Any

_IMPORTING = Lock()


def import_whole(*names: str, later: Sequence[str] = ()) -> None:
    """Import modules to their end. Threads that import parts of one library at once find each other's half made.

    What `later` names, such as `package.module.Name`, is loaded when it is first used: a library imports many
    parts of its own that nobody uses.
    """
    with _IMPORTING, _put_off(later):
        for name in names:
            importlib.import_module(name)


@contextmanager
def _put_off(later: Sequence[str]) -> Iterator[None]:
    stand_ins: dict[str, ModuleType] = {}
    for module, _, name in (dotted.rpartition(".") for dotted in later):
        if module.rpartition(".")[0] not in sys.modules:
            setattr(stand_ins.setdefault(module, ModuleType(module)), name, _Later(module, name))
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for module in stand_ins:
            del sys.modules[module]


class _Later:
    """Stands for a class of a module that is not loaded yet."""

    def __init__(self, module: str, name: str) -> None:
        self._of = module, name

    def _loaded(self) -> Any:
        module, name = self._of
        return getattr(importlib.import_module(module), name)

    def __call__(self, *args: Any, **more: Any) -> Any:
        return self._loaded()(*args, **more)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loaded(), name)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self._loaded())
