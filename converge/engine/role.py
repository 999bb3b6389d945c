"""A role: a function from a host's settings to the resources that it wants, known by its module's name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

from converge.engine.resource import Chain, Resource
from converge.record import dataclass

if TYPE_CHECKING:
    from converge.inventory.hosts import Host

Wanted = Iterable[Resource | Chain]
Wants = Callable[["Host[Any]"], Wanted]
Needs = Callable[["Host[Any]"], tuple[str, ...]]
Gone = Callable[["Host[Any]", str, str], Resource | None]


@dataclass(frozen=True)
class Role:
    """What a kind of host must have.

    `needs` names the roles without which it makes no sense: its changes wait while one of them is held back; `needs_of` adds
    those that the settings of a host name. `after` names those that it follows where the host has them. When a change of one that stands `alone` fails, the roles that do not need
    it go on; otherwise nothing behind it is begun. `gone(host, kind, name)` is the resource that takes away what
    the role once made and no longer wants; without one it is left where it is.
    """

    name: str
    wants: Wants
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    gone: Gone = lambda host, kind, name: None
    alone: bool = False
    needs_of: Needs = lambda host: ()

    def on(self, host: Host[Any]) -> Role:
        """The role as it is for a host."""
        return replace(self, needs=tuple(dict.fromkeys((*self.needs, *self.needs_of(host)))))


@overload
def role(function: Wants) -> Role: ...
@overload
def role(
    *, needs: tuple[str, ...] = (), after: tuple[str, ...] = (), gone: Gone = ..., needs_of: Needs = ...
) -> Callable[[Wants], Role]: ...
def role(function: Wants | None = None, **more: Any) -> Role | Callable[[Wants], Role]:
    """Make a role of a generator: `@role` or `@role(needs=("docker",))`."""

    def make(wants: Wants) -> Role:
        return Role(wants.__name__, wants, **more)

    return make(function) if function else make
