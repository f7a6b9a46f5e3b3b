"""Which values ``each`` can iterate, and how."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dis import get_instructions
from operator import attrgetter, itemgetter
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from rio_chain.chain._functions import python_function
from rio_chain.engine._runtime_protocol import kind_of

_KINDS: tuple[Any, ...] = (list, tuple, set, frozenset, range, deque, dict)
_EMPTY: dict[int, int] = {}
_VIEWS: tuple[Any, ...] = (type(_EMPTY.keys()), type(_EMPTY.values()), type(_EMPTY.items()))
_PLAIN = {kind.__iter__ for kind in (*_KINDS, *_VIEWS)}
_PLAIN_NAMES = {kind.__name__ for kind in _KINDS}
_MAKES_PLAIN = (*_KINDS, sorted)
TEXT: tuple[type, ...] = (str, bytes, bytearray, memoryview)
"""Text counts as one value, although Python could iterate it."""


def is_plain(value: object) -> bool:
    """Whether iterating it runs no user code and never waits, as for a list."""
    return getattr(kind_of(value), "__iter__", None) in _PLAIN


def is_async(value: object) -> bool:
    """Whether it has to be iterated with ``async for``."""
    return hasattr(kind_of(value), "__aiter__")


def runs_code(value: object) -> bool:
    """Whether iterating it with ``for`` may run user code, or wait."""
    kind = kind_of(value)
    found = hasattr(kind, "__iter__") or _is_old_style(kind)
    return found and not (is_plain(value) or is_async(value) or isinstance(value, TEXT))


def gives_plain(fn: Callable[..., Any]) -> bool:
    """Whether the function surely returns no iterator that depends on its thread. Known before the call.

    True for ``list``, for a function that is declared to return a list, and for one that makes no call itself, such as
    ``lambda page: page["items"]``.
    """
    if fn in _MAKES_PLAIN:
        return True
    found = python_function(fn)
    if found is None:
        return isinstance(fn, (itemgetter, attrgetter))
    declared: Any = found.__annotations__.get("return")
    name = declared if isinstance(declared, str) else str(getattr(declared, "__name__", ""))
    if name.split("[")[0].lower() in _PLAIN_NAMES:
        return True
    return not any(step.opname.startswith("CALL") for step in get_instructions(found.__code__))


def is_used_up(value: object) -> bool:
    """Whether it is a generator that was read to its end, or closed."""
    if isinstance(value, GeneratorType):
        return value.gi_frame is None
    return isinstance(value, AsyncGeneratorType) and value.ag_frame is None


def _is_old_style(kind: type) -> bool:
    """Whether it is a sequence that is iterated by its indices."""
    return hasattr(kind, "__getitem__") and hasattr(kind, "__len__")
