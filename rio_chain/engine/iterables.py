"""Which values ``each`` can iterate, and how."""

from __future__ import annotations

from collections import deque
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from rio_chain.engine.runtime import kind_of

_KINDS: tuple[Any, ...] = (list, tuple, set, frozenset, range, deque, dict)
_EMPTY: dict[int, int] = {}
_VIEWS: tuple[Any, ...] = (type(_EMPTY.keys()), type(_EMPTY.values()), type(_EMPTY.items()))
_PLAIN = {kind.__iter__ for kind in (*_KINDS, *_VIEWS)}
TEXT: tuple[type, ...] = (str, bytes, bytearray, memoryview)
"""Text is one value, although it could be iterated."""


def is_plain(value: object) -> bool:
    """Whether iterating it runs nobody's code and waits for nothing, as for a list."""
    return getattr(kind_of(value), "__iter__", None) in _PLAIN


def is_async(value: object) -> bool:
    """Whether it is to be iterated with ``async for``."""
    return hasattr(kind_of(value), "__aiter__")


def runs_code(value: object) -> bool:
    """Whether iterating it with ``for`` may run anybody's code, or wait."""
    kind = kind_of(value)
    found = hasattr(kind, "__iter__") or _is_old_style(kind)
    return found and not (is_plain(value) or is_async(value) or isinstance(value, TEXT))


def is_used_up(value: object) -> bool:
    """Whether it is a generator that was read before."""
    if isinstance(value, GeneratorType):
        return value.gi_frame is None
    return isinstance(value, AsyncGeneratorType) and value.ag_frame is None


def _is_old_style(kind: type) -> bool:
    """A sequence that is iterated by its indices."""
    return hasattr(kind, "__getitem__") and hasattr(kind, "__len__")
