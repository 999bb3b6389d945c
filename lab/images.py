"""The images that the lab builds: the machine itself, and the services where no registry answers."""

from __future__ import annotations

import hashlib
import re
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from converge.errors import Trouble
from converge.record import dataclass
from converge.shell import quote_all
from lab import archives, clone, programs, rootfs, systems, wheels
from lab.archives import Archive
from lab.engine import ensure_engine, plainly
from lab.programs import Program
from lab.progress import long_work
from roles.settings.model import Base, DockerSettings
from roles.settings.model import Image as ImageRow

HERE = Path(__file__).parent
DEFINITION = "stowage.definition"
MACHINE = "stowage-lab/machine"
NO_PACKAGE = re.compile(r"E: Unable to locate package (\S+)|E: Package '?([^\s']+)'? has no installation candidate")


@dataclass(frozen=True)
class Recipe:
    """How one image is made: a folder with a Dockerfile, and programs built from source that it copies.

    Without a tag the image is tagged by its definition, so that clones of different commits do not meet.
    """

    name: str
    image: str
    folder: str
    takes: str = "under a minute"
    programs: tuple[Program, ...] = ()
    base: str = ""  # a recipe; the bare Debian 13 where none is named
    system: str = ""  # a row of lab/systems.py
    packages: tuple[str, ...] = ()
    archive: Archive | None = None
    run: tuple[str, ...] = ()
    pypi: tuple[str, ...] = ()

    @property
    def mirrors(self) -> str:
        return " and ".join(
            dict.fromkeys(systems.SYSTEMS[name].mirror for name in (systems.DEFAULT, self.system) if name)
        )

    @property
    def arguments(self) -> dict[str, str]:
        packages = {"PACKAGES": " ".join(self.packages)} if self.packages else {}
        into = {"INTO": self.archive.into} if self.archive else {}
        run = {"RUN": quote_all(self.run)} if self.run else {}
        pypi = {"PYPI": " ".join(self.pypi)} if self.pypi else {}
        system = systems.SYSTEMS[self.system].build_arguments if self.system else {}
        return packages | into | run | pypi | system


# The last commit of upstream's server; the last release with the whole console; the client.
MINIO = Program("minio", "github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c", "3-6 minutes")
MINIO_CONSOLE = Program("minio", "github.com/minio/minio", "v0.0.0-20250422221226-0d7408fc9969", "3-6 minutes")
MC = Program("mc", "github.com/minio/mc", "v0.0.0-20250313080218-cf909e1063a9", "1-2 minutes")
_VICTORIA = "github.com/VictoriaMetrics/VictoriaLogs"
LOGS = tuple(
    Program(
        name,
        _VICTORIA,
        "v1.52.1",
        "1-2 minutes",
        package=f"./app/{name}",
        calls_itself="github.com/VictoriaMetrics/VictoriaMetrics/lib/buildinfo.Version",
    )
    for name in ("victoria-logs", "vlagent")
)


def _machines() -> Iterator[Recipe]:
    """A machine of each system, and what those are made from that are not the lab's own."""
    yield Recipe("machine", MACHINE, "machine", system=systems.DEFAULT)
    yield Recipe(
        f"machine-{systems.PREPARED}",
        f"{MACHINE}-{systems.PREPARED}",
        "prepared",
        base="machine",
        system=systems.DEFAULT,
        packages=(*Base().packages, *DockerSettings().packages),
    )
    for name, system in systems.SYSTEMS.items():
        if name != systems.DEFAULT:
            base = f"base-{name}"
            yield Recipe(base, f"stowage-lab/base:{system.suite}", "bootstrap", "1-2 minutes", system=name)
            yield Recipe(f"machine-{name}", f"{MACHINE}-{name}", "machine", base=base, system=name)


RECIPES = {
    image_recipe.name: image_recipe
    for image_recipe in (
        *_machines(),
        Recipe("minio", f"stowage-lab/minio:{MINIO.release}", "services/minio", programs=(MINIO, MC)),
        # For tests of upgrades and of single sign-on only: it has known holes.
        Recipe(
            "minio-console",
            f"stowage-lab/minio:{MINIO_CONSOLE.release}",
            "services/minio",
            programs=(MINIO_CONSOLE, MC),
        ),
        Recipe("nginx", "stowage-lab/nginx:1.26.3", "services/nginx"),
        Recipe("postgres", "stowage-lab/postgres:17-3.5", "services/postgres", "1-2 minutes"),
        Recipe("victorialogs", "stowage-lab/victorialogs:1.52.1", "services/logs", "1-3 minutes", programs=LOGS),
        Recipe("worker", "stowage-lab/worker:1", "services/worker", takes="1-2 minutes"),
    )
}


def machine(system: str, cold: bool = False) -> str:
    """The tag of the image of a machine with that system."""
    return build("machine" if system == systems.DEFAULT else f"machine-{system}", cold)


def recipe(service: str) -> Recipe:
    """The recipe of a service."""
    if service not in RECIPES:
        known = ", ".join(known_recipe.name for known_recipe in RECIPES.values() if not known_recipe.system)
        raise Trouble(
            f"the lab cannot build {service!r}",
            why=f"it knows {known}",
            hint="a row in lab/images.py, or lab: {packages: [...]}",
        )
    return RECIPES[service]


def of_row(row: ImageRow) -> Recipe:
    """The recipe of an image that a row of `images` lets the lab build."""
    assert row.lab
    if isinstance(row.lab, str):
        return recipe(row.lab)
    archive_row = row.lab.archive
    archive = Archive(archive_row.url, archive_row.sha256, archive_row.into) if archive_row else None
    return of_packages(row.reference, row.lab.packages, archive, row.lab.run, row.lab.pypi)


def of_packages(
    reference: str,
    packages: Sequence[str],
    archive: Archive | None = None,
    run: Sequence[str] = (),
    pypi: Sequence[str] = (),
) -> Recipe:
    """The recipe of an image that is packages of Debian on the base, and perhaps a zip or packages of PyPI, as a row of `images` names them."""
    if any(
        reference in (rootfs.TAG, built.image) or reference.startswith(f"{built.image}:") for built in RECIPES.values()
    ):
        raise Trouble(
            f"the lab does not build {reference} from packages",
            why="it has a recipe for an image of this name",
            untouched="the image was left as it is",
            hint=f"another reference in the row of images, such as {reference}-own",
        )
    if pypi:
        names, folder = tuple(sorted({"ca-certificates", "python3-venv", *packages})), "services/pypi"
        return Recipe(reference, reference, folder, "1-3 minutes", packages=names, pypi=tuple(sorted(set(pypi))))
    folder, takes = ("services/archive", "1-2 minutes") if archive else ("services/packages", "under a minute")
    names = tuple(sorted(set(packages)))
    return Recipe(reference, reference, folder, takes, packages=names, archive=archive, run=tuple(run))


def build(service: str, cold: bool = False) -> str:
    """The tag of a service's image on the operator's Engine."""
    return make(recipe(service), cold)


@plainly
def make(recipe: Recipe, cold: bool = False) -> str:
    """The tag of an image on the operator's Engine: made when missing or changed, reused when there."""
    client = ensure_engine()
    base = build(recipe.base, cold) if recipe.base else rootfs.TAG
    # When the image is there, nothing waits for builds of other labs.
    if not cold and client.images.list(base) and (tag := _made(client, recipe, client.images.get(base).id)):
        return tag
    with clone.locked("build"):
        under = client.images.get(base).id if recipe.base else rootfs.ensure(client, cold)
        if not cold and (tag := _made(client, recipe, under)):
            return tag
        definition = _definition(recipe, under)
        tag, architecture = _tag(recipe, definition), client.version()["Arch"]
        more = {program.name: programs.binary(program, architecture) for program in recipe.programs}
        if recipe.pypi:
            more["wheels"] = wheels.folder(recipe.pypi, architecture)
        with _context(recipe, more) as context:
            _docker_build(client, recipe, base, tag, definition, context, cold)
    return tag


def _made(client: Any, recipe: Recipe, base: str) -> str:
    """Its tag when the image is there and was made from the present definition."""
    definition = _definition(recipe, base)
    tag = _tag(recipe, definition)
    return tag if client.images.list(tag, filters={"label": f"{DEFINITION}={definition}"}) else ""


def _tag(recipe: Recipe, definition: str) -> str:
    return recipe.image if ":" in recipe.image else f"{recipe.image}:{definition}"


def _definition(recipe: Recipe, base: str) -> str:
    """A hash of all that an image is made from."""
    archive = recipe.archive.sha256 if recipe.archive else ""
    digest = hashlib.sha256(f"{base} {recipe.programs}{''.join(recipe.arguments.values())}{archive}".encode())
    for path in sorted((HERE / recipe.folder).iterdir()):
        digest.update(f"{path.name} {path.stat().st_mode & 0o777:o}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def _context(recipe: Recipe, more: Mapping[str, Path]) -> Iterator[IO[bytes]]:
    """What `docker build` sees: the folder, and the programs."""
    with tempfile.TemporaryFile() as packed:
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for path in sorted((HERE / recipe.folder).iterdir()):
                tar.add(path, path.name)
            for name, path in more.items():
                tar.add(path, name)
            if recipe.archive:
                archives.put_into(tar, recipe.archive)
        packed.seek(0)
        yield packed


def _docker_build(
    client: Any, recipe: Recipe, base: str, tag: str, definition: str, context: IO[bytes], cold: bool
) -> None:
    output: list[str] = []
    before = client.images.list(recipe.image)
    with long_work(f"building {tag}", recipe.takes) as work:
        for event in client.api.build(
            fileobj=context,
            custom_context=True,
            tag=tag,
            buildargs={"BASE": base, **recipe.arguments},
            labels={DEFINITION: definition},
            nocache=cold,
            rm=True,
            forcerm=True,
            decode=True,
        ):
            line = event.get("stream") or event.get("error") or ""
            output.append(line)
            work.note(line)
            if "error" in event:
                raise _failed(recipe, tag, output)
    _forget(client, before, tag)


def _failed(recipe: Recipe, tag: str, output: Sequence[str]) -> Trouble:
    """Why a build failed. A package that Debian does not have is the inventory's mistake, and reported as one."""
    absent = dict.fromkeys(unknown or unavailable for unknown, unavailable in NO_PACKAGE.findall("".join(output)))
    if recipe.packages and absent:
        return Trouble(
            f"the image {tag} cannot be built",
            why=f"Debian 13 has no package {' and no package '.join(absent)}",
            untouched="an older image of this name is still there, if there was one",
            hint=f"correct the packages of {tag} in the inventory's images, then inv lab.up again",
        )
    why = "".join(output[-12:]).strip()
    return Trouble(f"building {tag} failed", why=why, hint=f"the Engine needs {recipe.mirrors}")


def _forget(client: Any, before: list[Any], tag: str) -> None:
    """Remove the image that had the tag before, unless a container runs on it."""
    import docker

    now = client.images.get(tag).id
    for image in before:
        with suppress(docker.errors.APIError):
            if image.id != now:
                client.images.remove(image.id)
