"""What all objects that keep state for several chains have in common: they can be neither copied nor pickled."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from itertools import count
from typing import Any, ClassVar, NoReturn, Self

from rio_chain._core.units import short_repr
from rio_chain.errors import ChainDefinitionError

next_number = count(1).__next__
"""Numbers the objects in the order in which they are made."""


class Shared:
    """State that lives in one object of one process, whoever uses it. Equal is only what is the same."""

    __slots__ = ("_made_with", "_serial")
    _serial: int
    _made_with: tuple[tuple[Any, ...], dict[str, Any]]
    _renamed: ClassVar[Mapping[str, str]] = {}
    """Arguments that had another name: the old one, and that of today."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """As ``object``; it remembers how it was made, for ``fresh``."""
        for old, new in cls._renamed.items():
            if old in kwargs and old not in inspect.signature(cls.__init__).parameters:  # a subclass may have its own
                right = f"{cls.__name__}({new}={short_repr(kwargs[old])})"
                raise ChainDefinitionError(f"`{old}=` of a {cls.__name__} is now `{new}=`: write {right}")
        self = super().__new__(cls)
        self._made_with = args, kwargs
        self._serial = next_number()
        return self

    def fresh(self) -> Self:
        """Another one, made as this one was, which has seen nothing yet: for a run beside the real ones."""
        args, kwargs = self._made_with
        return type(self)(*args, **kwargs)

    def __reduce__(self) -> NoReturn:
        """Refuse; a copy would count for itself, without a word."""
        kind = type(self).__name__
        raise ChainDefinitionError(
            f"{self!r} can't be pickled or copied: its state is shared by all who use this one object; make a "
            f"{kind}(...) where it is needed"
        )

    def __copy__(self) -> Any:
        """Refuse, as pickling does."""
        return self.__reduce__()

    def __deepcopy__(self, memo: object) -> Any:
        """Refuse, as pickling does."""
        return self.__reduce__()


def made_after(number: int, given: object) -> bool:
    """Whether it has a state and was made after this number was given out."""
    return isinstance(given, Shared) and given._serial > number  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - no one else
