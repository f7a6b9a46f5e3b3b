"""Keys: what a call is filed under."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from attrs import frozen

from rio_chain.policies.checks import callback, title
from rio_chain.units import shown


@frozen
class _Called:
    """The key of a call that has not just one argument."""

    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]


@frozen(repr=False)
class Key:
    """What a call is filed under: what ``fn`` makes of its arguments, or these themselves.

    Called where users' functions are called: what ``fn`` raises, and a key that can't be hashed, is their error.
    """

    fn: Callable[..., Any] | None = None

    @property
    def __name__(self) -> str:
        """The name of the user's function, for errors."""
        return "the input" if self.fn is None else title(self.fn)

    def __call__(self, *args: Any, **kwargs: Any) -> Hashable:
        """The key for these arguments.

        Raises:
            TypeError: it can't be hashed.
        """
        key: Any  # as the user made it
        if self.fn is not None:
            key = self.fn(*args, **kwargs)
        elif len(args) == 1 and not kwargs:
            key = args[0]
        else:
            key = _Called(args, tuple(sorted(kwargs.items())))
        try:
            hash(key)
        except TypeError:
            gave = f"the input is {shown(key)}" if self.fn is None else f"{title(self.fn)} gave {shown(key)}"
            if isinstance(key, _Called):
                gave = "one of the several values that the input is made of is not"
            hint = "give a key= that makes" if self.fn is None else "make it"
            raise TypeError(f"a key must be hashable, and {gave}; {hint} a str, a number or a tuple of these") from None
        hashable: Hashable = key
        return hashable

    def __repr__(self) -> str:
        return self.__name__


def key_of(value: object) -> Key:
    """A ``key=`` as given by the user; None is the input itself."""
    if value is None:
        return Key()
    return Key(callback(value, "key", "a function of the input that gives something hashable, or None", one=False))
