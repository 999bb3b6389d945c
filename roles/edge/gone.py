"""What another kind of edge, or another signer, has left on a host: keys that nobody serves any more, and configuration, go. Accounts at an
authority, what Traefik keeps with its account, and the host's own authority stay: with them a way back costs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from converge.engine.resource import Reading, Resource, Shell, State, Step
from converge.record import dataclass
from converge.resources.compose import FOLDER
from converge.resources.file import Directory
from converge.resources.no_folder import NoFolder
from converge.shell import quote, quote_all
from roles.edge import acme, authority, nginx, traefik

if TYPE_CHECKING:
    from converge.inventory.hosts import Host

FOLDERS = (nginx.HERE, traefik.HERE, acme.PROOFS)
"""Folders of configuration: whatever else an edge has made keeps something that cannot be had again for nothing."""


@dataclass(frozen=True)
class NoCertificate(Resource):
    """A certificate that nobody serves any more, with its key."""

    kind: ClassVar[str] = "no-certificate"
    was: str
    path: str

    @property
    def name(self) -> str:
        return self.path

    @property
    def address(self) -> str:
        return f"{self.was}:{self.path}"

    @property
    def files(self) -> tuple[str, str]:
        return self.path, f"{self.path.removesuffix('.crt')}.key"

    @property
    def removed_last(self) -> int:
        return -1  # before its folder, whose content would be kept aside

    def desired(self) -> None:
        return None

    def stands_on(self) -> tuple[str, ...]:
        # A program that could not be given another configuration still needs it.
        return (f"project:{self.path.removeprefix(f'{FOLDER}/').partition('/')[0]}",)

    @classmethod
    def probe(cls, wanted: Sequence[NoCertificate]) -> str:
        return "\n".join(f"ls -d -- {quote_all(gone.files)} 2>/dev/null | wc -l" for gone in wanted)

    @classmethod
    def read(cls, wanted: Sequence[NoCertificate], answer: str) -> list[Reading]:
        return [None if count == "0" else {"files": count} for count in answer.split()]

    def note(self, before: State | None) -> str:
        return "with its key"

    def fix(self, before: State | None) -> list[Step]:
        return [Shell(f"rm -f -- {quote_all(self.files)}")]


@dataclass(frozen=True)
class NoConfiguration(NoFolder):
    """A folder of an edge's configuration, and the one above it where that holds nothing else."""

    def fix(self, before: State | None) -> list[Step]:
        above = quote(self.path.rpartition("/")[0])
        return [*super().fix(before), Shell(f"rmdir --ignore-fail-on-non-empty -- {above}")]


def gone(host: Host[Any], kind: str, name: str) -> Resource | None:
    """The resource that removes what is no longer wanted, if it may go."""
    if kind in (authority.LocalCertificate.kind, acme.AcmeCertificate.kind):
        return NoCertificate(kind, name)
    return NoConfiguration(name) if kind == Directory.kind and name in FOLDERS else None
