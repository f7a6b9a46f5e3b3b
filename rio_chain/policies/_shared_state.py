"""The base class of objects that keep state for several chains. They can be neither copied nor pickled."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from datetime import timedelta
from itertools import count
from typing import Any, ClassVar, NoReturn, Self

from rio_chain._core.source_text import constant_source, on_source
from rio_chain._core.units import short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies._number_format import exact_ms

next_number = count(1).__next__
"""Numbers the objects in the order in which they are made."""


class Shared:
    """State in one object of one process, shared by all its users. Two of them are equal only if they are identical."""

    __slots__ = ("_made_with", "_serial")
    _serial: int
    _made_with: tuple[tuple[Any, ...], dict[str, Any]]
    _renamed: ClassVar[Mapping[str, str]] = {}
    """Renamed arguments: the old name and the new one."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """As ``object.__new__``, but it also keeps the arguments, for ``fresh``."""
        for old, new in cls._renamed.items():
            if old in kwargs and old not in inspect.signature(cls.__init__).parameters:  # a subclass may have its own
                right = f"{cls.__name__}({new}={short_repr(kwargs[old])})"
                raise ChainDefinitionError(f"`{old}=` of a {cls.__name__} is now `{new}=`: write {right}")
        self = super().__new__(cls)
        self._made_with = args, kwargs
        self._serial = next_number()
        return self

    @property
    def number(self) -> int:
        """Its place in the order in which such objects were made."""
        return self._serial

    def fresh(self) -> Self:
        """A new object with the same arguments and no history, for a run that must not affect the real one."""
        args, kwargs = self._made_with
        return type(self)(*args, **kwargs)

    def __reduce__(self) -> NoReturn:
        """Refuse, because a copy would silently have a state of its own."""
        kind = type(self).__name__
        raise ChainDefinitionError(
            f"{self!r} can't be pickled or copied, because all chains that use this object share its state; make a "
            f"{kind}(...) where it is needed"
        )

    def __copy__(self) -> Any:
        """Refuse, as pickling does."""
        return self.__reduce__()

    def __deepcopy__(self, memo: object) -> Any:
        """Refuse, as pickling does."""
        return self.__reduce__()


def constructor(given: Shared) -> str:
    """The call that makes an object with the same arguments, as source."""
    args, kwargs = given._made_with  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - no one else
    words = [*map(_argument, args), *(f"{name}={_argument(value)}" for name, value in kwargs.items())]
    return f"{type(given).__name__}({', '.join(words)})"


def _argument(value: object) -> str:
    """An argument as source: a function or class by its name, a ``timedelta`` in milliseconds."""
    if isinstance(value, timedelta):
        return exact_ms(value.total_seconds())
    return on_source(value) if callable(value) or _are_classes(value) else constant_source(value)


def _are_classes(value: Any) -> bool:
    return isinstance(value, tuple) and all(map(callable, value))  # pyright: ignore[reportUnknownArgumentType]


def made_after(number: int, given: object) -> bool:
    """Whether it has a state, and was made after ``number`` was given out."""
    return isinstance(given, Shared) and given._serial > number  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - no one else
