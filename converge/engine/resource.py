"""What a role yields: the desired state of one thing, and how it is read and put right. Nothing here runs anything."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from converge.record import dataclass

if TYPE_CHECKING:
    from converge.ssh.link import Link

State = Mapping[str, str]
"""A flat description of one thing; None stands for absent."""


@dataclass(frozen=True)
class Unknown:
    """The state could not be read. Never the same as absent: absent could mean "format it"."""

    why: str
    hint: str = ""
    lasting: bool = False
    """Whether no deploy can change that; False where only a service is not up yet."""


@dataclass(frozen=True)
class Refusal:
    """Why this must not be touched, and the command with which a person may decide otherwise."""

    why: str
    hint: str = ""


Reading = State | Unknown | None


class Action(Enum):
    """What a plan does with a resource; the value is its symbol."""

    CREATE = "+"
    UPDATE = "~"
    REMOVE = "-"
    REFUSED = "!"
    WAITING = "."
    UNKNOWN = "?"
    NONE = " "


@dataclass(frozen=True)
class Shell:
    """Shell commands for the host, run as root with `set -e`."""

    script: str
    says: str = ""


@dataclass(frozen=True)
class Send:
    """A stream of bytes into a command on the host: images and large files."""

    command: str
    source: Callable[[], Iterator[bytes]]
    size: int
    says: str = ""


@dataclass(frozen=True)
class Call:
    """Something done through an API, over the host's SSH connection."""

    run: Callable[[Link], None]
    says: str = ""


Step = Shell | Send | Call


class Resource:
    """The desired state of one thing. Kinds are frozen dataclasses and pure: they say, the host does.

    A kind reads all of its instances with one snippet (`probe`), and `read` turns the answer into one reading each.
    """

    kind: ClassVar[str]
    holds_back: ClassVar[bool] = True
    """Whether other roles wait while this one is refused; False for kinds that only report on the host around it."""
    statuses: ClassVar[tuple[int, ...]] = (0,)
    """The exit statuses of `probe` after which all was read; any other makes all of `wanted` unknown."""

    way_out: ClassVar[str] = ""
    """What to type after a change failed with an unknown error; `{name}`, `{path}` and `{container}` are filled in."""
    when_gone: ClassVar[str] = "gone from the host"
    """What the plan says when one that a deploy made has disappeared."""

    removals: ClassVar[dict[str, Callable[[str], Resource]]] = {}
    """By kind, the class that removes what an earlier deploy made. Other kinds stay, unless their role removes them."""

    def __init_subclass__(cls, removes: str = "", **more: Any) -> None:
        """`removes` names the kind whose things this one takes away, by their name."""
        super().__init_subclass__(**more)
        if removes:
            Resource.removals[removes] = cls.for_removal

    @classmethod
    def for_removal(cls, name: str) -> Resource:
        """The resource that takes away the thing of this name."""
        raise NotImplementedError

    @property
    def removed_last(self) -> int:
        """Of what nobody wants any more, a higher number is removed later, as the others use it."""
        return 0

    @property
    def name(self) -> str:
        """What tells this instance from the others of its kind on a host."""
        raise NotImplementedError

    @property
    def address(self) -> str:
        return f"{self.kind}:{self.name}"

    def desired(self) -> State | None:
        """What should be; only these keys are compared."""
        raise NotImplementedError

    @classmethod
    def probe(cls, wanted: Sequence[Any]) -> str:
        """Shell that reads all of `wanted`; it changes nothing. Empty where the common questions say everything."""
        return ""

    @classmethod
    def common_questions(cls, wanted: Sequence[Any]) -> Mapping[Callable[[Sequence[str]], str], Sequence[str]]:
        """What it asks together with other kinds, in one process: the shell of a question, and the names it asks about.

        `read` is given the answer to each, for all names of all kinds, behind the answer of `probe`.
        """
        return {}

    @classmethod
    def read(cls, *args: Any, **kwargs: Any) -> list[Reading]:
        """`read(wanted, answer, *shared)`: one reading for each of `wanted`, in their order."""
        raise NotImplementedError

    @classmethod
    def ask(cls, link: Link, wanted: Sequence[Any]) -> list[Reading]:
        """One reading for each of `wanted` through an API, for kinds that no shell can read; they have no probe."""
        raise NotImplementedError

    @classmethod
    def is_api(cls) -> bool:
        return cls.ask.__func__ is not Resource.ask.__func__  # type: ignore[attr-defined]

    def refusal(self, before: State | None) -> Refusal | None:
        """Why a difference must not be put right by us, if so."""
        return None

    def lost(self) -> Refusal | None:
        """Why it must not be made anew after it has disappeared: for what holds data."""
        return None

    def left_alone(self, before: State) -> list[str]:
        """What a deploy leaves alone beside it on the host, in lines for a person; `--full` shows them."""
        return []

    def fix(self, before: State | None) -> list[Step]:
        """The steps from `before` to `desired()`."""
        raise NotImplementedError

    def gives(self) -> Iterable[str]:
        """What others stand on through it, beside its address: `path:/mnt/drive1`, `uid:9000`, `container:nginx`."""
        return ()

    def stands_on(self) -> Iterable[str]:
        """What must be as it should be before this may be touched: addresses of others, or what they give.

        What is not planned on the host holds nothing back. `path:` means the folders above as well.
        """
        return ()

    def undone_by(self, other: Resource, made: bool) -> bool:
        """Whether a change of `other`, earlier in its chain or in a role beneath, makes this necessary, though it is well now.

        `made`: it was not there before.
        """
        return False

    def disrupts(self, before: State | None) -> bool:
        """Whether the fix restarts, replaces or removes something that is in use."""
        return before is not None and self.desired() is None

    def note(self, before: State | None) -> str:
        """A few words behind the address in a plan."""
        return ""

    def diff(self, before: State | None) -> list[str]:
        """The difference as lines for a person; secrets are never among them."""
        after = self.desired()
        if before is None or after is None:
            return []
        return [f"{key}: {before.get(key, '-')} -> {after[key]}" for key in after if before.get(key) != after[key]]

    def remembered(self) -> str:
        """A hash of the desired state: tells drift on the host from a new setting."""
        return hashlib.sha256(json.dumps(self.desired(), sort_keys=True).encode()).hexdigest()[:16]


class Leftover(Resource):
    """What the settings no longer name: it has the address under which another kind made it, and is removed."""

    was: str
    called: str

    @property
    def name(self) -> str:
        return self.called

    @property
    def address(self) -> str:
        return f"{self.was}:{self.called}"

    def desired(self) -> None:
        return None


@dataclass(frozen=True)
class Chain:
    """Resources of which each needs those before."""

    links: tuple[Resource, ...]

    def __iter__(self) -> Iterator[Resource]:
        return iter(self.links)


def in_order(*resources: Resource | Iterable[Resource]) -> Chain:
    """Chain resources: one that is refused or unknown holds back those after it, and nothing else."""
    flat: list[Resource] = []
    for resource in resources:
        flat.extend([resource] if isinstance(resource, Resource) else resource)
    return Chain(tuple(flat))
