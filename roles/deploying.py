"""What a command deploys: the hosts that it names, and the roles of each in their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from converge.engine.order import Chosen, chosen
from converge.engine.role import Role
from converge.errors import Trouble
from converge.ui.cli import command_line, only
from roles import MODULES, named, names_of
from roles.settings.hosts import hosts

if TYPE_CHECKING:
    from invoke.context import Context

    from converge.inventory.hosts import Host
    from roles.settings.model import Settings


def roles_of(host: Host[Settings], names: tuple[str, ...]) -> Chosen:
    """The roles of a host in their order; with names, only those and the roles that they stand on."""
    if unknown := [name for name in host.settings.roles if named(name) is None]:
        raise Trouble(
            f"there is no role {unknown[0]}",
            where=host.name,
            why=f"its settings name it under roles; there are {', '.join(MODULES)}",
            untouched="nothing was changed",
            hint=f"inv inventory --host {host.name}, which says where it comes from",
        )

    def find(name: str) -> Role:
        role = named(name, host)
        assert (
            role
        )  # what `roles` names is known by now, and what a role or a service needs was checked with the settings
        return role

    return chosen(host.name, names_of(host.settings), find, names)


def _past(name: str) -> Role:
    """A role that a host had: one of ours, or a service that its settings no longer name."""
    from roles.services.role import past_role

    return named(name) or past_role(name)


def deploy(c: Context, host: str, role: str, set: list[str] | None, **options: Any) -> None:
    """Bring hosts to what the inventory says, or show how far they are from it: what `inv deploy` and `inv check` do."""
    from converge.ui import deploy as screen

    chosen_hosts = hosts(c, host, set)
    services = [name for chosen_host in chosen_hosts for name in chosen_host.settings.services]
    names = tuple(only(role, tuple(dict.fromkeys([*MODULES, *services]))))
    roles = {chosen_host.name: roles_of(chosen_host, names) for chosen_host in chosen_hosts}
    screen.deploy(
        chosen_hosts,
        {name: host_roles.roles for name, host_roles in roles.items()},
        screen.Options(command=command_line(), **options),
        None if names else _past,
        {name: host_roles.beneath for name, host_roles in roles.items()},
    )
