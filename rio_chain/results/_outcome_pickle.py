"""How an Outcome is pickled: whole, or without the parts that can't be pickled.

A chain has lambdas and locks, and errors of HTTP clients hold connections. You can store an Outcome nevertheless:
``LeftOut`` replaces such objects. An error that can't be unpickled is replaced by one with the same text, which the
same ``except`` catches. Only the value of the Outcome itself must be picklable.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from rio_chain._core import hooks
from rio_chain._core.pickling import loads, plain_dumps, survives, tolerant_dumps
from rio_chain.policies._shared_state import Shared
from rio_chain.results._nested_run import NestedRun

if TYPE_CHECKING:
    from rio_chain.results._outcome import Outcome

Parts = tuple[Any, Any, Any, Any]
"""The plan, the log, the value or ``Failed``, and the times of an Outcome."""


def packed(parts: Parts, *, failed: bool) -> bytes:
    """Pickle the parts.

    Raises:
        Exception: whatever pickling raises, if the value can't be pickled.
    """
    try:
        data, incomplete = tolerant_dumps(parts, _replaced)
    except RecursionError:  # dozens of nested Requests
        data, incomplete = tolerant_dumps(parts, _without_nested)
    if incomplete and not failed:
        plain_dumps(parts[2])  # raises: an Outcome without its value is of no use
    return data


def unpacked(cls: type[Outcome[Any]], data: bytes) -> Outcome[Any]:
    """Unpickle the Outcome."""
    return cls(*loads(data))


def _without_nested(obj: object) -> Any:
    return (type(None), ()) if isinstance(obj, NestedRun) else _replaced(obj)


def _replaced(obj: object) -> Any:
    """For an object that can't be pickled itself, how to make it again, as from ``__reduce__``.

    Returns None if the object is pickled as it is.
    """
    if isinstance(obj, Shared):
        args, kwargs = obj._made_with  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        return partial(type(obj), *args, **kwargs), ()  # enough for pictures; its state stays in its process
    if isinstance(obj, BaseException) and not survives(obj):
        return hooks.facade.portable_error(obj)
    return None
