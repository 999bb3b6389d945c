"""A `dataclass` that is made in a quarter of the time: Python's own takes a tenth of a check for its 120 classes."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls: type | None = None, /, *, frozen: bool = False, **options: Any) -> Any:
        """As `dataclasses.dataclass`, with one difference: that nothing is assigned to what is frozen is seen by the type checker alone.

        Python's own compiles six methods for each class. Here it compiles `__init__`; the others are the same for all.
        """

        def make(cls: type) -> type:
            own = vars(cls)
            hashed = own.get("__hash__") is not None or ("__hash__" in own and "__eq__" not in own)
            undocumented = cls.__doc__ is None
            if undocumented:
                cls.__doc__ = "-"  # or a signature would be worked out for it
            cls = dataclasses.dataclass(cls, repr=False, eq=False, **options)
            if undocumented:
                cls.__doc__ = None
            fields = dataclasses.fields(cls)
            cls.__compared__ = tuple(field.name for field in fields if field.compare)
            if "__repr__" not in own:
                cls.__repr__ = _repr
            if "__eq__" not in own:
                cls.__eq__ = _eq
            if not hashed:
                cls.__hash__ = _hash if frozen else None
            return cls

        return make if cls is None else make(cls)


def _key(record: Any) -> tuple[Any, ...]:
    return tuple([getattr(record, name) for name in record.__compared__])


def _eq(self: Any, other: object) -> bool:
    return _key(self) == _key(other) if other.__class__ is self.__class__ else NotImplemented


def _hash(self: Any) -> int:
    return hash(_key(self))


def _repr(self: Any) -> str:
    shown = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
    return f"{type(self).__qualname__}({shown})"
