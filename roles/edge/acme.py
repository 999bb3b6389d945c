"""Certificates for nginx that a public authority signs: certbot asks it, in a container of its own, and a timer of the host renews them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar

from converge.engine.resource import Reading, Resource, Shell, State, Step
from converge.record import dataclass
from converge.resources.compose import FOLDER
from converge.resources.file import Directory, File
from converge.resources.unit import StaticUnit, Unit
from converge.shell import quote, quote_all
from roles.edge import authority
from roles.edge.routes import ACME, certificate
from roles.images import image
from roles.settings.local_file import local_text
from roles.settings.networks import containers

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.edge.settings import Acme, Edge
    from roles.settings.model import Settings

HERE = f"{FOLDER}/acme"
SCRIPT = "/usr/local/lib/stowage/acme"
SCRIPT_OF_TRAEFIK = "/usr/local/lib/stowage/acme-traefik"
"""Not the same file: what one of them says of a certificate, nobody may ask the other, which lies there until this deploy ends."""
REFUSALS = "/usr/local/lib/stowage/acme-refusals"
ACCOUNT = f"{FOLDER}/nginx/acme"
"""The account at the authority, with its key."""
PROOFS, PROOFS_INSIDE = f"{FOLDER}/nginx/proofs", "/var/lib/stowage-proofs"
"""What the authority asks for at port 80, to see that a name leads here."""
PORT = 80
AUTHORITY = f"{HERE}/authority.crt"
"""Who signed the certificate of the authority's own server, where that is private."""
CONTAINER = "stowage-certbot"
PATIENCE = 180
"""Seconds for one certificate."""
TEMPORARY = "CN=temporary certificate of Stowage"
"""The issuer of the certificate that stands in until the authority has signed: see files/acme.sh."""
_UNITS = ("stowage-acme.service", "stowage-acme.timer")


@dataclass(frozen=True)
class AcmeCertificate(authority.LocalCertificate):
    """A certificate for this name, with its key: a temporary one, until the authority has signed another in its place."""

    kind: ClassVar[str] = "acme-certificate"
    script: ClassVar[str] = SCRIPT
    makes: ClassVar[str] = "temporary"
    way_out: ClassVar[str] = f"on the host: sh {SCRIPT} state FOLDER NAME OWNER HOST"

    def note(self, before: State | None) -> str:
        return f"{', '.join(self.names)}; a temporary one, until the authority has signed"


@dataclass(frozen=True)
class Asked(Resource):
    """An authority that was asked to sign for these names. Whether it has signed is no matter of a deploy: the timer asks again."""

    kind: ClassVar[str] = "authority"
    way_out: ClassVar[str] = "on the host: systemctl start stowage-acme.service; journalctl -u stowage-acme -n 20"
    server: str
    names: tuple[str, ...]
    words: tuple[str, ...]
    """What the script on the host is given, to tell whether each is signed."""
    container: str
    table: str
    """The file on the host from which the script knows what to ask for."""
    script: str = SCRIPT

    @property
    def name(self) -> str:
        return self.server

    def desired(self) -> State:
        return {"asked": "yes"}

    def stands_on(self) -> tuple[str, ...]:
        return (
            f"container:{self.container}",
            f"answers:{self.container}",
            *(f"path:{path}" for path in (self.script, self.table)),
        )

    @classmethod
    def probe(cls, wanted: Sequence[Asked]) -> str:
        each = (f"sh {asked.script} asked {quote_all([asked.server, *asked.words])}" for asked in wanted)
        files = " && ".join(f"[ -e {asked.script} ] && [ -e {asked.table} ]" for asked in wanted)
        return f"! {{ {files}; }} || {{ {'; '.join(each)}; }}"

    @classmethod
    def read(cls, wanted: Sequence[Asked], answer: str) -> list[Reading]:
        lines = answer.splitlines() or ["no"] * len(wanted)
        return [{"asked": "yes"} if line == "yes" else None for line in lines]

    def note(self, before: State | None) -> str:
        return f"asks it to sign for {', '.join(self.names)}"

    def fix(self, before: State | None) -> list[Step]:
        # An authority that is away or refuses must not fail a deploy: it is told, and the timer asks again.
        return [Shell(f"sh {self.script} renew || :")]


def leaves(host: Host[Settings], edge: Edge, folder: str) -> tuple[AcmeCertificate, ...]:
    """The certificates of nginx in this folder: one for each name."""
    owner = host.settings.data_user.name
    names = dict.fromkeys(
        row.host for row in edge.routes if row.host and not row.tcp and certificate(edge, row) == ACME
    )
    return tuple(AcmeCertificate(folder, label(name), owner, (name,)) for name in names)


def label(name: str) -> str:
    """The name of a certificate's files, without their endings."""
    return f"{ACME}-{name}"


def databases_leaf(host: Host[Settings]) -> AcmeCertificate | None:
    """PostgreSQL's own certificate, if a public authority signs it."""
    leaf = authority.databases_leaf(host, ACME)
    return AcmeCertificate(leaf.folder, leaf.label, leaf.owner, leaf.names) if leaf else None


def script_of(edge: Edge) -> str:
    """The script on the host that looks after what an authority signs for this kind of edge."""
    return SCRIPT_OF_TRAEFIK if edge.kind == "traefik" else SCRIPT


def tools(host: Host[Settings], script: str = SCRIPT) -> Iterator[Resource]:
    """The script on the host, for each role that has such a certificate."""
    yield Directory("/usr/local/lib/stowage")
    yield File(REFUSALS, (host.root / "files/acme-refusals.sh").read_text(), check="sh -n {}")
    text = (host.root / f"files/{script.rpartition('/')[2]}.sh").read_text()
    yield File(script, text, mode="0755", check="sh -n {}")
    yield Directory(FOLDER)
    yield from (Directory(folder) for folder in (HERE, f"{HERE}/signed", f"{HERE}/failed"))


def shown(host: Host[Settings]) -> Iterator[Resource]:
    """The folders that nginx shows to the authority and certbot writes to."""
    owner = host.settings.data_user.name
    yield Directory(PROOFS, owner=owner, group=owner)
    yield Directory(ACCOUNT, owner=owner, group=owner, mode="0700")


def renewed(
    host: Host[Settings], edge: Edge, certificates: Sequence[AcmeCertificate], taken_up: str
) -> Iterator[Resource]:
    """Asks the authority now, and by a timer from then on. `taken_up` is the command after which nginx serves what was signed."""
    assert edge.acme
    lines = [(leaf, "nginx") for leaf in certificates]
    yield File(f"{HERE}/nginx", taken_up)
    if database := databases_leaf(host):
        lines.append((database, "postgres"))
        reload = authority.databases_loaded(database.files).taken_up("docker exec postgres pg_ctl reload -s")
        yield File(f"{HERE}/postgres", reload)
    if edge.acme.authority:
        yield File(AUTHORITY, local_text(host, "edge.acme.authority", edge.acme.authority))
    yield File(f"{HERE}/server", f"{edge.acme.directory}\n")
    yield File(f"{HERE}/ask", ask(host, edge.acme), mode="0755", check="sh -n {}")
    yield File(f"{HERE}/table", "".join(f"{authority.line(leaf, program)}\n" for leaf, program in lines))
    names = tuple(name for leaf, _ in lines for name in leaf.names)
    each = (word for leaf, _ in lines for word in (leaf.folder, leaf.label, *leaf.names))
    yield Asked(edge.acme.directory, names, tuple(each), "nginx", f"{HERE}/table")
    yield from timer(host, SCRIPT)


def timer(host: Host[Settings], script: str) -> Iterator[Resource]:
    """Has the script look every ten minutes what is due."""
    for name in _UNITS:
        text = (host.root / "files" / name).read_text().replace("@SCRIPT@", script)
        yield File(f"/etc/systemd/system/{name}", text, until_loaded=True)
    yield Unit("stowage-acme.timer")
    yield StaticUnit("stowage-acme.service")


def ask(host: Host[Settings], acme: Acme) -> str:
    """The script that has certbot ask for what FOLDER/csr.pem says, and puts the answer beside it. The key never leaves the host's own folder."""
    uid, network = host.settings.data_user.uid, containers(host.settings)["nginx"][:1]
    trust = (
        ["-v", f"{AUTHORITY}:/authority.crt:ro", "-e", "REQUESTS_CA_BUNDLE=/authority.crt"] if acme.authority else []
    )
    container = [
        *("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *("-u", f"{uid}:{uid}", "-v", f"{ACCOUNT}:/account", "-v", f"{PROOFS}:/proofs", *trust),
        *(word for name in network for word in ("--network", name)),
        *("--entrypoint", "certbot"),
    ]
    flags = {
        "server": acme.directory,
        "email": acme.email,
        "webroot-path": "/proofs",
        "csr": "/asked/csr.pem",
        "cert-path": "/asked/cert.pem",
        "chain-path": "/asked/chain.pem",
        "fullchain-path": "/asked/fullchain.pem",
        "config-dir": "/account",
        "work-dir": "/tmp/work",
        "logs-dir": "/tmp/logs",
    }
    words_of_it = [*("certonly", "--non-interactive", "--agree-tos", "--no-eff-email", "--webroot")]
    words_of_it += [f"--{key}={value}" for key, value in flags.items()]
    reference = quote(image(host, acme.image).reference)
    return f"""# ask FOLDER
docker rm -f {CONTAINER} >/dev/null 2>&1 || :
timeout -k 5 {PATIENCE} docker run --rm --name {CONTAINER} -v "$1:/asked" {quote_all(container)} {reference} {quote_all(words_of_it)}
ended=$?
docker rm -f {CONTAINER} >/dev/null 2>&1 || :
exit $ended
"""
