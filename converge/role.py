"""A role: a function from a host's settings to the resources that it wants, known by its module's name."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from converge.resource import Chain, Resource

Wanted = Iterable[Resource | Chain]


@dataclass(frozen=True)
class Role:
    """What a kind of host must have.

    `needs` names the roles without which its changes wait. `gone(host, kind, name)` is the resource that takes away what
    the role once made and no longer wants; without one it is left where it is.
    """

    name: str
    wants: Callable[[Any], Wanted]
    needs: tuple[str, ...] = ()
    gone: Callable[[Any, str, str], Resource | None] = lambda host, kind, name: None

    @property
    def doc(self) -> str:
        return (self.wants.__doc__ or importlib.import_module(self.wants.__module__).__doc__ or "").strip()


def role(function: Callable[[Any], Wanted] | None = None, **more: Any) -> Any:
    """Make a role of a generator: `@role` or `@role(needs=("docker",))`."""

    def make(wants: Callable[[Any], Wanted]) -> Role:
        return Role(wants.__name__, wants, **more)

    return make(function) if function else make
