"""Answers that ``accept`` has refused. If a retry or a fallback goes on without such an answer, it is closed.

The last refused answer is in the ``NotAccepted`` that the user gets. It stays open.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from rio_chain.engine._current_run import Strand
from rio_chain.engine._discarded_results import close_all, close_interrupted
from rio_chain.engine._instructions import Args
from rio_chain.engine._runtime_protocol import kind_of
from rio_chain.errors import NotAccepted

Reported = Callable[[BaseException], Any]
"""Returns the error inside a ``Fail``, or the exception itself."""


def refused_by(errors: Iterable[object]) -> list[Any]:
    """The refused answers in these errors."""
    return [error.value for error in errors if isinstance(error, NotAccepted)]


async def close_refused(strand: Strand, error: object) -> None:
    """Close the refused answer in this error: the run goes on without it."""
    if isinstance(error, NotAccepted):
        await close_all(strand, (error.value,))


def give_up_refused(strand: Strand, error: object) -> None:
    """The same where the strand is interrupted."""
    if isinstance(error, NotAccepted):
        close_interrupted(strand, error.value)


async def closed_after(strand: Strand, given: Any, call: Awaitable[Any], reported: Reported) -> Any:
    """The answer of a fallback function; ``given`` is its input.

    If the error it gets holds a refused answer, that answer is closed, unless the function returns it or raises an
    error with it.
    """
    error = given.args[0] if type(given) is Args else given
    if not isinstance(error, NotAccepted):
        return await call
    value = error.value
    try:
        got = await call
    except Exception as exc:
        if not _holds(reported(exc), value):
            await close_all(strand, (value,))
        raise
    except BaseException:
        close_interrupted(strand, value)
        raise
    if not _holds(got, value):
        await close_all(strand, (value,))
    return got


def _holds(thing: Any, value: object) -> bool:
    """Whether a thing is the value, or contains it directly."""
    kind = kind_of(thing)
    try:
        inside: Iterable[object] = ()
        if issubclass(kind, (tuple, list, set, frozenset)):
            inside = thing
        elif issubclass(kind, dict):
            inside = thing.values()
        elif issubclass(kind, BaseException):
            inside = thing.args
        fields: dict[str, object] = getattr(thing, "__dict__", {})
        return thing is value or any(part is value for part in (*inside, *fields.values()))
    except Exception:  # noqa: BLE001 - from the user's object; if it can't be searched, the answer stays open
        return True
