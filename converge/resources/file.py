"""Files, directories and symbolic links."""

from __future__ import annotations

import base64
import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import field
from typing import ClassVar

from converge.engine.probe import forgetting
from converge.engine.resource import Reading, Refusal, Resource, Shell, State, Step, Unknown
from converge.inventory.secret import Secret
from converge.record import dataclass
from converge.resources import entries
from converge.resources.access import access, aside, differences, strange, without_access_list
from converge.resources.docker import CommonQuestions
from converge.resources.entries import attributes, closed
from converge.resources.previous import keep, keep_until_loaded
from converge.shell import quote, quote_all, sh

KEPT = "the new file is refused by its check: what is in place stays as it is"
SHOWN = 65536
"""Bytes of a file on the host that are fetched for its diff."""


def parent(path: str) -> str:
    """The folder in which a path lies."""
    return path.rpartition("/")[0] or "/"


def normal_mode(mode: str) -> str:
    """Four octal digits: `644`, `0644` and `00644` are the same mode."""
    return f"{int(mode, 8):04o}"


def _checked_path(path: str) -> None:
    if not path.startswith("/") or any(ord(letter) < 32 or letter in "\\|" for letter in path):
        raise ValueError(f"not a path that can be managed: {path!r}")


@dataclass(frozen=True)
class File(Resource):
    """A file with this content. `check` is a command that must accept the new file (its path replaces `{}`) before it
    takes the old one's place; the old one is kept once in /var/lib/stowage/previous, unless it is secret."""

    kind: ClassVar[str] = "file"
    way_out: ClassVar[str] = "on the host: stat {path}; lsattr -d {path}"
    path: str
    content: str | bytes | Secret = field(repr=False)
    owner: str = "root"
    group: str = "root"
    mode: str = "0644"
    check: str = ""
    until_loaded: bool = False
    """Whether the old file is put back when the program that reads it fails with the new one: see FreshUnit and FreshContainer."""

    def __post_init__(self) -> None:
        _checked_path(self.path)
        object.__setattr__(self, "mode", normal_mode(self.mode))

    @property
    def name(self) -> str:
        return self.path

    @property
    def secret(self) -> bool:
        return isinstance(self.content, Secret)

    @property
    def data(self) -> bytes:
        """The content as it lies on the host."""
        return self.content if isinstance(self.content, bytes) else self.text.encode()

    @property
    def text(self) -> str:
        """The content as a person reads it; of data only its size."""
        if isinstance(self.content, bytes):
            return f"{len(self.content)} bytes of data"
        return self.content.reveal() if isinstance(self.content, Secret) else self.content

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def desired(self) -> State:
        return access(self, "file") | {"links": "1", "sha256": self.sha256}

    @classmethod
    def common_questions(cls, wanted: Sequence[File]) -> CommonQuestions:
        return {entries.entries: entries.paths(wanted), attributes: entries.paths(wanted)}

    def gives(self) -> tuple[str, ...]:
        return (f"path:{self.path}",)

    def stands_on(self) -> tuple[str, ...]:
        return (f"path:{parent(self.path)}", f"user:{self.owner}", f"group:{self.group}")

    @classmethod
    def probe(cls, wanted: Sequence[File]) -> str:
        # Only what is a file: a pipe in its place would never end, and a link may lead to what nobody should see.
        lines = [
            f"set --; for path in {quote_all(entries.paths(wanted))}; do\n"
            '[ -L "$path" ] || [ ! -f "$path" ] || set -- "$@" "$path"; done',
            'sums=; [ $# = 0 ] || sums=$(sha256sum -- "$@"); printf \'%s\\n\\n\' "$sums"',
        ]
        for file in wanted:
            if isinstance(file.content, str):
                # The content comes only where it differs: a check of a thousand files stays small.
                same = quote(f"{file.sha256}  {file.path}")
                lines.append(
                    f'case "$sums" in *{same}*) ;; *) [ -L {quote(file.path)} ] || [ ! -f {quote(file.path)} ] || '
                    f"{{ printf '%s\\n' {quote(file.path)}; head -c {SHOWN} -- {quote(file.path)} | base64 -w0; echo; }};; esac"
                )
        return "\n".join([*lines, "exit 0"])

    @classmethod
    def read(cls, wanted: Sequence[File], answer: str, *shared: str) -> list[Reading]:
        sums, *contents = answer.split("\n\n", 1)
        listing = entries.read(shared[0])
        digests = {path: digest for digest, _, path in (line.partition("  ") for line in sums.splitlines())}
        lines = contents[0].split("\n") if contents else []
        texts = dict(zip(lines[::2], lines[1::2], strict=False))
        return [
            _reading(file, listing, digests, texts.get(file.path), entries.locked(file.path, shared[1]))
            for file in wanted
        ]

    def refusal(self, before: State | None) -> Refusal | None:
        if before and before["type"] == "directory":
            return aside("a directory stands where the file should be", self.path)
        if before and before.get("locked"):
            return Refusal(
                f"{before['locked']} is immutable or takes only more (chattr): nothing can be put in its place",
                entries.unlock(before["locked"]),
            )
        return strange(before)

    def note(self, before: State | None) -> str:
        return "content hidden" if self.secret else ""

    def diff(self, before: State | None) -> list[str]:
        if before is None:
            return []
        lines = differences({key: value for key, value in self.desired().items() if key != "sha256"}, before)
        if before.get("sha256") == self.sha256:
            return lines
        if self.secret or "content" not in before:
            return [*lines, "content: changed, hidden" if self.secret else "content: changed"]
        old, new = before["content"].splitlines(), self.text.splitlines()
        shown = list(difflib.unified_diff(old, new, "on the host", "wanted", lineterm="", n=2))[2:]
        return [*lines, *(shown or ["content: only line ends differ"])]

    def _says_it(self, before: State | None) -> bool:
        """Whether it is a regular file, without other links, and has this content: then only its access is set."""
        as_it_is = {"type": "file", "links": "1", "access list": "none", "sha256": self.sha256}
        return before is not None and all(before.get(key) == value for key, value in as_it_is.items())

    def fix(self, before: State | None) -> list[Step]:
        owner, path = f"{self.owner}:{self.group}", self.path
        if self._says_it(before):
            return [Shell(closed(before) + sh("chown {} -- {}\nchmod {} -- {}", owner, path, self.mode, path))]
        kept = keep(self.path, self.secret) if before and before.get("type") == "file" else ""
        kept += keep_until_loaded(self.path) if self.until_loaded else ""
        encoded = base64.b64encode(self.data).decode()
        check = (
            f"{self.check.replace('{}', chr(34) + '$new' + chr(34))} || {{ echo {quote(KEPT)}; exit 1; }}"
            if self.check
            else ""
        )
        # The name ends as the target's does: programs that read a file by its ending can check it. What a killed run left
        # of it may hold a secret, and goes first.
        folder, _, base = self.path.rpartition("/")
        return [
            Shell(f"""{closed(before)}
rm -f -- {quote(folder + "/.stowage-")}??????{quote("-" + base)}
new=$(mktemp --suffix {quote("-" + base)} {quote(folder + "/.stowage-XXXXXX")})
trap 'rm -f -- "$new"' EXIT
printf %s {quote(encoded)} | base64 -d >"$new"
chown {quote(self.owner)}:{quote(self.group)} "$new"; chmod {self.mode} "$new"
{check}
{kept}
sync "$new"; mv -fT -- "$new" {quote(self.path)}; sync {quote(folder or "/")}
""")
        ]


def _reading(file: File, listing: entries.Entries, digests: dict[str, str], text: str | None, locked: str) -> Reading:
    state = entries.state(file.path, file.owner, listing)
    entry = listing.get(file.path)
    if state is None and locked:
        return Unknown(f"{locked} is immutable (chattr): the file cannot be made", entries.unlock(locked))
    if state is None or isinstance(state, Unknown) or not isinstance(entry, entries.Entry):
        return state
    content = {} if text is None else {"content": base64.b64decode(text).decode(errors="replace")}
    known = {"links": str(entry.links), "locked": locked, "sha256": digests.get(file.path, "")}
    return {**state, **known, **content}


@dataclass(frozen=True)
class Directory(Resource):
    """A directory with this owner and mode; its content is not looked at."""

    kind: ClassVar[str] = "directory"
    way_out: ClassVar[str] = "on the host: stat {path}; lsattr -d {path}"
    path: str
    owner: str = "root"
    group: str = "root"
    mode: str = "0755"
    holds_data: bool = False
    """Whether it must not be made anew, empty, when it has disappeared."""

    def __post_init__(self) -> None:
        _checked_path(self.path)
        object.__setattr__(self, "mode", normal_mode(self.mode))

    @property
    def name(self) -> str:
        return self.path

    def desired(self) -> State:
        return access(self, "directory")

    def lost(self) -> Refusal | None:
        if not self.holds_data:
            return None
        return Refusal(
            "this host had it, with the data of a service, and now there is none: was it moved, is its disk mounted?",
            f"bring it back;\nor, to begin with an empty one, on the host: {forgetting(self.address)}",
        )

    def gives(self) -> tuple[str, ...]:
        return (f"path:{self.path}",)

    def stands_on(self) -> tuple[str, ...]:
        return (f"path:{parent(self.path)}", f"user:{self.owner}", f"group:{self.group}")

    @classmethod
    def common_questions(cls, wanted: Sequence[Directory]) -> CommonQuestions:
        return {entries.entries: entries.paths(wanted)}

    @classmethod
    def read(cls, wanted: Sequence[Directory], answer: str, *shared: str) -> list[Reading]:
        listing = entries.read(shared[0])
        return [entries.state(directory.path, directory.owner, listing) for directory in wanted]

    def refusal(self, before: State | None) -> Refusal | None:
        if before and before["type"] != "directory":
            return aside(f"a {before['type']} stands where the directory should be", self.path)
        return strange(before)

    def diff(self, before: State | None) -> list[str]:
        return differences(self.desired(), before) if before else []

    def fix(self, before: State | None) -> list[Step]:
        parent = self.path.rpartition("/")[0] or "/"
        # Synced, with the directory it stands in: a power cut a moment later must not take back what was called done.
        return [
            Shell(
                closed(before)
                + sh("( umask 022; mkdir -p -m {} -- {} )\n", self.mode, self.path)
                + without_access_list(self.path, before)
                + sh("chown {} {}\nchmod {} {}\n", f"{self.owner}:{self.group}", self.path, self.mode, self.path)
                + sh("sync -- {} {}", self.path, parent)
            )
        ]


@dataclass(frozen=True)
class Absent(Resource, removes="file"):
    """A path that must not exist; only a file or a link is ever removed, never a directory."""

    kind: ClassVar[str] = "absent"
    path: str
    was: str = "absent"
    """The kind of resource that made it; `absent` when no deploy did."""

    @classmethod
    def for_removal(cls, name: str) -> Absent:
        return cls(name, was="file")

    @property
    def name(self) -> str:
        return self.path

    @property
    def address(self) -> str:
        return f"{self.was}:{self.path}"

    def desired(self) -> None:
        return None

    @classmethod
    def common_questions(cls, wanted: Sequence[Absent]) -> CommonQuestions:
        return {entries.entries: entries.paths(wanted)}

    @classmethod
    def read(cls, wanted: Sequence[Absent], answer: str, *shared: str) -> list[Reading]:
        listing = entries.read(shared[0])
        return [entries.state(absent.path, "root", listing) for absent in wanted]

    def refusal(self, before: State | None) -> Refusal | None:
        if before and before["type"] == "directory":
            hint = sh("on the host, if nobody needs what is in it: rm -r -- {}; then: inv deploy", self.path)
            return Refusal("it is a directory, which is never removed", hint)
        return None

    def fix(self, before: State | None) -> list[Step]:
        return [Shell(sh("rm -f -- {}", self.path))]
