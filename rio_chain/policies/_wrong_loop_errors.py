"""Errors of objects that belong to another event loop, such as an HTTP client that was made in an earlier run.

Another attempt fails in the same way, so they are never retried or hedged, and are no answer of a backend to a breaker.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, cast

from rio_chain.errors import RioError

ADVICE = (
    "rio_chain: an object in here, such as an HTTP client, belongs to an event loop other than the one that runs. "
    "Another call would fail in the same way, so there is none. Make the object on the loop that uses it: in the "
    "function, or when that loop starts; or run the chain on the loop where the object was made, with "
    "`await page(42)` or `await balancer.arun(page(42))`"
)

_TEXTS = (
    "event loop is closed",
    "different event loop",  # asyncio's locks, queues and events; pymongo
    "different loop",  # asyncio's futures and tasks
    "event loop other than the current one",  # asyncio in debug mode
    "use same event loop",  # aiohttp
    "no running event loop",  # asyncio under trio, or in a thread without a loop
    "no current event loop",
    "await wasn't used with future",  # one of asyncio's, awaited on another library's loop
    "task got bad yield",  # trio's, awaited under asyncio
    "unrecognized yield message",  # asyncio's, awaited under trio
    "must be called from async context",  # trio's, called under asyncio
    "run() has exited",  # a trio token of a run that is over
    "not in async context",  # sniffio and anyio
)
_KINDS = (RuntimeError, ValueError, TypeError)
_DEPTH = 10
"""Causes that are looked at; a user may have made a cycle of them."""


def of_another_loop(error: object) -> bool:
    """Whether the error, an explicit cause of it, or one in its group, says that something belongs to another loop.

    Not what it was raised in the handler of: a function that asks for the loop first, and does without where there is
    none, fails for other reasons.
    """
    return isinstance(error, Exception) and _says_so(error, _DEPTH)


def _says_so(error: BaseException, depth: int) -> bool:
    if isinstance(error, RioError) or not depth:
        return False
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return any(_says_so(one, depth - 1) for one in group.exceptions)
    if isinstance(error, _KINDS) and _text_says_so(error):
        return True
    return error.__cause__ is not None and _says_so(error.__cause__, depth - 1)


def _text_says_so(error: BaseException) -> bool:
    try:
        text = str(error).lower()
    except Exception:  # noqa: BLE001 - the user's class
        return False
    return any(part in text for part in _TEXTS)


def advise(error: object) -> None:
    """Add to such an error what to do, as a note, once: the object may be shared."""
    if of_another_loop(error) and not is_advised(error):
        with suppress(Exception):
            cast("Exception", error).add_note(ADVICE)


def is_advised(error: object) -> bool:
    """Whether it has that note."""
    notes: Any = getattr(error, "__notes__", ())
    return isinstance(notes, list) and ADVICE in notes
