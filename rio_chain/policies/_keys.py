"""Keys: what a call is filed under."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from attrs import frozen

from rio_chain._core.units import short_repr
from rio_chain.policies._checks import callback, title

PLAIN = frozenset({type(None), bool, int, float, str, bytes})
"""Types of keys that never change and whose comparison runs nobody's code."""


class HashedKey:
    """A key with the hash that it had when it came.

    Policies file under it, so that a key which changes later, or raises when it is hashed again, is still found and
    removed. One that raises when it is compared is equal to none but itself.
    """

    __slots__ = ("_hash", "key")

    def __init__(self, key: Hashable, known: int | None = None) -> None:
        self.key = key
        self._hash = hash(key) if known is None else known

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        theirs: object = other.key if isinstance(other, HashedKey) else other
        try:
            return self.key is theirs or bool(self.key == theirs)
        except Exception:  # noqa: BLE001 - of the user's key, in a call that may be somebody else's
            return False

    def __repr__(self) -> str:
        return repr(self.key)


class KeyOfARun(HashedKey):
    """The same where all keys are of one run: what comparing them raises is its failure."""

    __slots__ = ()
    __hash__ = HashedKey.__hash__

    def __eq__(self, other: object) -> bool:
        theirs: object = other.key if isinstance(other, HashedKey) else other
        return self.key is theirs or bool(self.key == theirs)


def hashed(key: Hashable) -> Hashable:
    """The key as policies file under it. Raises what hashing it raises."""
    kind = type(key)
    if kind in PLAIN or kind is HashedKey:
        return key
    return HashedKey(key)


def of_a_run(key: Hashable) -> Hashable:
    """A hashed key where all keys are of one run."""
    return KeyOfARun(key.key, hash(key)) if isinstance(key, HashedKey) else key


def as_given(key: Hashable) -> Hashable:
    """The key as the user gave it."""
    return key.key if isinstance(key, HashedKey) else key


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
        """The key for these arguments, hashed once and for all.

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
            return hashed(key)
        except TypeError:
            gave = f"the input is {short_repr(key)}" if self.fn is None else f"{title(self.fn)} gave {short_repr(key)}"
            if isinstance(key, _Called):
                gave = "one of the several values that the input is made of is not"
            hint = "give a key= that makes" if self.fn is None else "make it"
            raise TypeError(f"a key must be hashable, and {gave}; {hint} a str, a number or a tuple of these") from None

    def __repr__(self) -> str:
        return self.__name__


def key_of(value: object) -> Key:
    """A ``key=`` as given by the user; None is the input itself."""
    if value is None:
        return Key()
    return Key(callback(value, "key", "a function of the input that gives something hashable, or None", one=False))
