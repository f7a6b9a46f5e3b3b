"""Answers that ``accept`` has refused. Where a retry or a fallback goes on without one, nobody gets it: it is closed.

The last one is in the ``NotAccepted`` that the user gets, and stays open.
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
"""The error that an exception stands for."""


def refused_by(errors: Iterable[object]) -> list[Any]:
    """The answers whose refusals these errors are."""
    return [error.value for error in errors if isinstance(error, NotAccepted)]


async def close_refused(strand: Strand, error: object) -> None:
    """What is around goes on without it."""
    if isinstance(error, NotAccepted):
        await close_all(strand, (error.value,))


def give_up_refused(strand: Strand, error: object) -> None:
    """The same where the strand is interrupted."""
    if isinstance(error, NotAccepted):
        close_interrupted(strand, error.value)


async def closed_after(strand: Strand, given: Any, call: Awaitable[Any], reported: Reported) -> Any:
    """What a fallback function makes of an error; ``given`` is what it gets.

    If that is a refused answer, the function has seen it. It is closed unless what the function gives or raises holds
    it.
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
    """Whether a thing is the value, or has it right inside."""
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
    except Exception:  # noqa: BLE001 - of the user's object; what can't be looked into is left open
        return True
