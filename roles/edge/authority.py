"""A host's own certificate authority: it signs names that no public one signs; keys are made, kept and renewed on the host."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from converge.engine.resource import Reading, Refusal, Resource, Shell, State, Step
from converge.record import dataclass
from converge.resources.compose import FOLDER
from converge.resources.file import Directory, File
from converge.resources.fresh import FreshContainer, reloaded
from converge.resources.unit import StaticUnit, Unit
from converge.shell import quote_all
from roles.edge.routes import LOCAL, active, certificate, dashboard, target

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.edge.settings import Edge
    from roles.settings.model import Settings

HERE = f"{FOLDER}/authority"
AUTHORITY = f"{HERE}/authority.crt"
SCRIPT = "/usr/local/lib/stowage/certificates"
_UNITS = "/etc/systemd/system"


@dataclass(frozen=True)
class LocalCertificate(Resource):
    """A certificate for these names, signed by the host's own authority, which is not about to end."""

    kind: ClassVar[str] = "certificate"
    script: ClassVar[str] = SCRIPT
    makes: ClassVar[str] = "sign"
    """The word for the script after which it is there."""
    way_out: ClassVar[str] = f"on the host: sh {SCRIPT} state FOLDER NAME OWNER HOST..."
    folder: str
    label: str
    owner: str
    names: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.folder}/{self.label}.crt"

    @property
    def files(self) -> tuple[str, str]:
        return self.name, f"{self.folder}/{self.label}.key"

    def desired(self) -> State:
        return {"it is": "good"}

    def gives(self) -> tuple[str, ...]:
        return tuple(f"path:{path}" for path in self.files)

    def stands_on(self) -> tuple[str, ...]:
        return (f"path:{self.folder}", f"path:{self.script}", f"user:{self.owner}")

    @classmethod
    def probe(cls, wanted: Sequence[LocalCertificate]) -> str:
        each = (
            f"sh {cls.script} state {quote_all([leaf.folder, leaf.label, leaf.owner, *leaf.names])}" for leaf in wanted
        )
        return f"[ ! -e {cls.script} ] || {{ {'; '.join(each)}; }}"

    @classmethod
    def read(cls, wanted: Sequence[LocalCertificate], answer: str) -> list[Reading]:
        lines = answer.splitlines() or ["not there"] * len(wanted)
        return [None if state == "not there" else {"it is": state} for state in lines]

    def note(self, before: State | None) -> str:
        return ", ".join(self.names)

    def fix(self, before: State | None) -> list[Step]:
        return [Shell(f"sh {self.script} {self.makes} {quote_all([self.folder, self.label, self.owner, *self.names])}")]


@dataclass(frozen=True)
class Signer(Resource):
    """The authority itself, which can sign again: without its key nothing is renewed, and that would be noticed only when all ends."""

    kind: ClassVar[str] = "signer"
    way_out: ClassVar[str] = f"on the host: sh {SCRIPT} root; docs/runbook.md, The host's own authority"

    @property
    def name(self) -> str:
        return HERE

    def desired(self) -> State:
        return {"it is": "good"}

    def stands_on(self) -> tuple[str, ...]:
        return (f"path:{SCRIPT}", f"path:{HERE}")

    @classmethod
    def probe(cls, wanted: Sequence[Signer]) -> str:
        return f"[ ! -e {SCRIPT} ] || sh {SCRIPT} root"

    @classmethod
    def read(cls, wanted: Sequence[Signer], answer: str) -> list[Reading]:
        state = answer.strip()
        return [None if state in ("", "not there") else {"it is": state}] * len(wanted)

    def refusal(self, before: State | None) -> Refusal | None:
        if before is None or "authority.key" not in before["it is"]:
            return None
        lost = f"{before['it is']}: what it has signed is served until it ends, and cannot be renewed"
        hint = f"bring both files in {HERE} back from a backup: docs/runbook.md, The host's own authority"
        return Refusal(lost, hint)

    def note(self, before: State | None) -> str:
        return (
            "with the same key, so that clients trust it as before"
            if before
            else "clients are to trust it: inv certs.authority"
        )

    def fix(self, before: State | None) -> list[Step]:
        return [Shell(f"sh {SCRIPT} mend")]


def names_of(edge: Edge) -> tuple[str, ...]:
    """The names of the rows whose certificate the host's own authority signs."""
    signed = [row.host for row in edge.routes if row.host and certificate(edge, row) == LOCAL]
    page = [dashboard(edge)] if dashboard(edge) and edge.tls == LOCAL else []
    return tuple(dict.fromkeys([*signed, *page]))


def databases_name(settings: Settings) -> str:
    """The name by which PostgreSQL is reached with its own TLS, when the edge passes the bytes on without reading them."""
    edge = settings.edge if "edge" in settings.roles else None
    if edge is None or edge.kind != "nginx":
        return ""
    rows = (row for row in active(settings, edge) if row.tcp and target(row) == "postgres")
    return next((row.host for row in rows if row.host and certificate(edge, row)), "")


def tools(host: Host[Settings]) -> Iterator[Resource]:
    """The scripts on the host that make certificates, for each role that has one signed."""
    yield Directory("/usr/local/lib/stowage")
    yield File(SCRIPT, (host.root / "files/certificates.sh").read_text(), mode="0755", check="sh -n {}")
    yield Directory(FOLDER)
    yield Directory(HERE, mode="0755")


def renewed(host: Host[Settings], leaf: LocalCertificate, container: str, taken_up: str) -> Iterator[Resource]:
    """A timer on the host that renews them without a deploy. `taken_up` is the command after which they are served."""
    lines = [line(leaf, container)]
    yield File(f"{HERE}/{container}", taken_up)
    if database := databases_leaf(host):
        lines.append(line(database, "postgres"))
        yield File(
            f"{HERE}/postgres", databases_loaded(database.files).taken_up("docker exec postgres pg_ctl reload -s")
        )
    yield File(f"{HERE}/table", "".join(f"{row}\n" for row in lines))
    for name in ("stowage-certificates.service", "stowage-certificates.timer"):
        yield File(f"{_UNITS}/{name}", (host.root / "files" / name).read_text(), until_loaded=True)
    yield Unit("stowage-certificates.timer")
    yield StaticUnit("stowage-certificates.service")
    yield Signer()


def line(leaf: LocalCertificate, taken_up: str) -> str:
    """A certificate's row in the table from which the host renews; `taken_up` is the script that has it served."""
    return " ".join([leaf.folder, leaf.label, leaf.owner, taken_up, *leaf.names])


DATABASES = f"{FOLDER}/postgres/conf"


def databases_loaded(keys: tuple[str, ...]) -> FreshContainer:
    """Has PostgreSQL read its access rules and its certificate again."""
    return reloaded("postgres", (f"{DATABASES}/pg_hba.conf", *keys), "pg_ctl", "reload", "-s")


def databases_leaf(host: Host[Settings], signer: str = LOCAL) -> LocalCertificate | None:
    """PostgreSQL's own certificate, if this host's authority signs it, or another `signer`."""
    name, edge = databases_name(host.settings), host.settings.edge
    row = next((route for route in edge.routes if route.tcp and route.host == name), None) if edge else None
    if not edge or not row or certificate(edge, row) != signer:
        return None
    return LocalCertificate(DATABASES, "server", host.settings.data_user.name, (name,))
