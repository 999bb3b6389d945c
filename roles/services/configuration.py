"""The configuration of a service: files of the project, rendered or as they are, in folders that its container has bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from converge.errors import Trouble
from converge.record import dataclass
from converge.resources.contents import Contents
from converge.resources.file import Directory, File
from converge.shell import quote, quote_all
from converge.templates import render
from roles.services.definition import uid_of

if TYPE_CHECKING:
    from converge.inventory.hosts import Host
    from roles.services.settings import Service
    from roles.settings.model import Settings

_TEMPLATE = ".j2"


@dataclass(frozen=True)
class Folder:
    """One bound folder: its path on the host, its path in the container, and its files."""

    here: str
    inside: str
    directories: tuple[Directory, ...]
    files: tuple[File, ...]

    @property
    def contents(self) -> Contents:
        """Nothing else lies there: a program would take it up as well."""
        paths = [*(directory.path for directory in self.directories), *(file.path for file in self.files)]
        return Contents(self.here, tuple(path.removeprefix(f"{self.here}/") for path in paths if path != self.here))


@dataclass(frozen=True)
class Source:
    """A file of the project, as it goes to the host."""

    place: str
    content: str | bytes
    mode: str


def folders(host: Host[Settings], name: str, settings: Service, root: str, reference: str) -> list[Folder]:
    """The folders of a service's page. Files of one folder of the container lie in one of the host."""
    contents: dict[str, dict[str, Source]] = {}
    checks: dict[str, Sequence[str]] = {}
    for inside, row in settings.files.items():
        folder = inside if row.source.endswith("/") else inside.rpartition("/")[0]
        for path, file in _read(host, name, settings, inside, row.source):
            other = contents.setdefault(folder, {}).setdefault(path, file)
            if other is not file:
                setting = f"services.{name}.files.{inside}"
                raise _absent(host, setting, file.place, f"{other.place} is {folder}/{path} already")
        if row.check:
            checks[f"{folder}/{row.main or inside.rpartition('/')[2]}"] = row.check
    return [
        Folder(
            f"{root}{folder}",
            folder,
            tuple(Directory(path) for path in _directories(f"{root}{folder}", files)),
            tuple(
                File(
                    f"{root}{folder}/{path}",
                    file.content,
                    mode=file.mode,
                    check=_checked(host, name, reference, f"{root}{folder}", folder, path, checks),
                    until_loaded=True,
                )
                # Files with a check come last: they may refer to the others.
                for path, file in sorted(files.items(), key=lambda item: (f"{folder}/{item[0]}" in checks, item[0]))
            ),
        )
        for folder, files in contents.items()
    ]


def _directories(root: str, files: dict[str, Any]) -> list[str]:
    inner = {str(above) for path in files for above in Path(path).parents if str(above) != "."}
    return [root, *(f"{root}/{path}" for path in sorted(inner))]


def _read(host: Host[Settings], name: str, settings: Service, inside: str, source: str) -> Iterator[tuple[str, Source]]:
    """The files of one source: paths beneath the folder that is bound, and what is in them."""
    place = host.root / source
    setting = f"services.{name}.files.{inside}"
    if not source.endswith("/"):
        yield inside.rpartition("/")[2], _source(host, settings, place, setting)
        return
    if not place.is_dir():
        raise _absent(host, setting, source, "there is no such folder")
    paths = [path for path in sorted(place.rglob("*")) if path.is_symlink() or not path.is_dir()]
    if not paths:
        raise _absent(host, setting, source, "the folder has no file")
    for path in paths:
        relative = str(path.relative_to(place))
        yield (
            relative.removesuffix(_TEMPLATE if _is_template(host, path) else ""),
            _source(host, settings, path, setting),
        )


def _is_template(host: Host[Settings], path: Path) -> bool:
    return path.relative_to(host.root).parts[0] == "templates"


def _source(host: Host[Settings], settings: Service, path: Path, setting: str) -> Source:
    """A file of the project; a script that may be run here may be run there."""
    relative = str(path.relative_to(host.root))
    if why := _unfit(host, path, relative):
        raise _absent(host, setting, ascii(relative)[1:-1], why)
    try:
        mode = "0755" if path.stat().st_mode & 0o100 else "0644"
        return Source(relative, _content(host, settings, path, relative), mode)
    except OSError as error:
        raise _absent(host, setting, relative, str(error.strerror)) from None


def _unfit(host: Host[Settings], path: Path, relative: str) -> str:
    """Why a file cannot be deployed: no file of a folder is skipped silently, and none comes from outside of the project."""
    if not relative.isprintable() or "\\" in relative or "|" in relative:
        return "its name has a \\, a | or a letter that cannot be shown: rename it"
    if path.is_symlink() and not path.exists():
        return "it is a link to something that is not there"
    if not path.resolve().is_relative_to(host.root.resolve()):
        return f"it is a link to {path.resolve()}, which is no part of the project"
    if path.is_dir():
        return (
            "it is a link to a folder: name the folder itself" if path.is_symlink() else "it is a folder: end it with /"
        )
    return "" if path.is_file() else "there is no such file" if not path.exists() else "it is no file"


def _content(host: Host[Settings], settings: Service, path: Path, relative: str) -> str | bytes:
    if _is_template(host, path):
        return render(host, relative.removeprefix("templates/"), service=settings, settings=host.settings)
    data = path.read_bytes()
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def _absent(host: Host[Settings], setting: str, source: str, why: str) -> Trouble:
    return Trouble(
        f"{setting} cannot be read",
        where=host.name,
        why=f"{source}: {why}",
        untouched="nothing was changed",
        hint=f"ls -l {quote(source)}",
    )


def _checked(
    host: Host[Settings], name: str, reference: str, here: str, inside: str, path: str, checks: dict[str, Sequence[str]]
) -> str:
    """The check of a file, by the very program that will read it: in its own image, without a network."""
    check = checks.get(f"{inside}/{path}")
    if not check:
        return ""
    uid = uid_of(host.settings.services[name], host.settings.data_user.uid)
    # Named, so that the next run removes what a cut one has left.
    container = f"stowage-check-{name}"
    folder = f"{inside}/{path}".rpartition("/")[0]
    given = " ".join(f"{quote(folder)}/$(basename {{}})" if word == "{}" else quote(word) for word in check[1:])
    return (
        f"docker rm -f {container} >/dev/null 2>&1 || :; "
        f"docker run --rm --name {container} --network none --read-only --tmpfs /tmp -u {uid}:{uid} "
        f"-v {quote(here)}:{quote(inside)}:ro --entrypoint {quote_all(check[:1])} {quote(reference)} {given}"
    )
