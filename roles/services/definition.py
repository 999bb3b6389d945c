"""The container of a service, as compose takes it: hardened, unless the service's page relaxes that by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from converge.resources.container_facts import SECRET_VARIABLES
from converge.resources.definition import bind, hardened, published, seen
from roles.settings.fields import size_in_bytes

if TYPE_CHECKING:
    from roles.services.configuration import Folder
    from roles.services.settings import Service
    from roles.settings.networks import Networks

SECRETS_INSIDE = "/run/secrets"
NOBODY = 65534
"""The number of the user `nobody` on every system that Docker runs on."""


def uid_of(settings: Service, owner: int) -> int:
    """The number of the container's user; `owner` is that of data_user."""
    return 0 if settings.root else NOBODY if settings.nobody else owner


def definition(
    name: str, settings: Service, uid: int, reference: str, networks: Networks, place: str, bound: Iterable[Folder]
) -> dict[str, Any]:
    """The definition of a service's one container; `bound` are its folders of configuration, `networks` as compose has them."""
    paths = {variable: f"{SECRETS_INSIDE}/{variable}" for variable in settings.secrets}
    binds = [
        *(bind(folder.here, folder.inside, read_only=True) for folder in bound),
        *(bind(here, inside) for inside, here in settings.data.items()),
        *(seen(here, inside) for inside, here in settings.reads.items()),
        *([bind(f"{place}/secrets", SECRETS_INSIDE, read_only=True)] if settings.secrets else []),
    ]
    optional = {
        "command": settings.command,
        "entrypoint": settings.entrypoint,
        "cap_add": settings.capabilities,
        "env_file": [f"{place}/secrets.env"] if settings.secret_environment else [],
        SECRET_VARIABLES: list(settings.secret_environment),
        "ports": [published(port.listen, port.port, port.to, port.udp) for port in settings.ports],
        "mem_limit": str(size_in_bytes(settings.memory)) if settings.memory else "",
    }
    return hardened(
        name,
        reference,
        uid_of(settings, uid),
        hostname=name,
        stop_grace_period=f"{settings.grace}s",
        read_only=not settings.writable,
        tmpfs=list(settings.temporary),
        environment={**settings.environment, **paths},
        volumes=binds,
        networks=networks,
        security_opt=[] if settings.new_privileges else ["no-new-privileges:true"],
        **{key: value for key, value in optional.items() if value},
    )
