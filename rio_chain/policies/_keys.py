"""Keys: what a policy with state identifies a call by."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, cast

from attrs import frozen

from rio_chain._core.units import short_repr
from rio_chain.policies._checks import callback, title

PLAIN = frozenset({type(None), bool, int, float, str, bytes})
"""Types of keys that are immutable and whose comparison runs no user code."""


class HashedKey:
    """A key with the hash that it had when it was made.

    Policies store it, so that a key that changes later, or that raises when it is hashed again, is still found and
    removed. If a comparison raises, the keys are not equal.
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
        except Exception:  # noqa: BLE001 - raised by the user's key, perhaps in a call of another user
            return False

    def __repr__(self) -> str:
        return repr(self.key)


class KeyOfARun(HashedKey):
    """A HashedKey where all keys are of one run. An error in a comparison is raised, and is a failure of that run."""

    __slots__ = ()
    __hash__ = HashedKey.__hash__

    def __eq__(self, other: object) -> bool:
        theirs: object = other.key if isinstance(other, HashedKey) else other
        return self.key is theirs or bool(self.key == theirs)


def hashed(key: Hashable) -> Hashable:
    """The key in the form that policies store. Raises what hashing it raises."""
    kind = type(key)
    if kind in PLAIN or kind is HashedKey:
        return key
    return HashedKey(key)


def of_a_run(key: Hashable) -> Hashable:
    """A hashed key in the form for keys of one run."""
    return KeyOfARun(key.key, hash(key)) if isinstance(key, HashedKey) else key


def as_given(key: Hashable) -> Hashable:
    """The key as the user gave it."""
    return key.key if isinstance(key, HashedKey) else key


def text_of(key: Hashable) -> str | None:
    """Text that equal keys of built-in types have in every process; None for a key of another type."""
    key = as_given(key)
    kind = type(key)
    if kind is tuple:
        parts = [text_of(one) for one in cast("tuple[Hashable, ...]", key)]
        return None if None in parts else f"({', '.join(map(str, parts))})"
    if isinstance(key, (bool, float)) and kind in PLAIN and key == key // 1:  # 1, 1.0 and True are equal
        return repr(int(key))
    return repr(key) if kind in PLAIN else None


@frozen
class _Called:
    """The key of a call with other than one argument."""

    args: tuple[Any, ...]
    kwargs: tuple[tuple[str, Any], ...]


@frozen(repr=False)
class Key:
    """Makes the key of a call: the result of ``fn`` for its arguments, or the arguments themselves.

    It is called where users' functions are called. If ``fn`` raises, or the key can't be hashed, that is an error of
    the user's function.
    """

    fn: Callable[..., Any] | None = None

    @property
    def __name__(self) -> str:
        """The name of the user's function, for errors."""
        return "the input" if self.fn is None else title(self.fn)

    def __call__(self, *args: Any, **kwargs: Any) -> Hashable:
        """The key for these arguments. It is hashed only once.

        Raises:
            TypeError: the key can't be hashed.
        """
        key: Any  # as the user's function returned it
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
                gave = "one of the values that the input consists of is not"
            hint = "give a key= that returns" if self.fn is None else "return"
            raise TypeError(f"a key must be hashable, and {gave}; {hint} a str, a number or a tuple of these") from None

    def __repr__(self) -> str:
        return self.__name__


def key_of(value: object) -> Key:
    """Read ``key=``; None is the input itself."""
    if value is None:
        return Key()
    return Key(callback(value, "key", "a function of the input that returns something hashable, or None", one=False))
