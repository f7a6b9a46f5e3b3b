"""Finds errors of objects that belong to another event loop, such as an HTTP client that was made in an earlier run.

Another attempt would fail in the same way. So they are never retried or hedged, and a breaker does not count them.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, cast

from rio_chain.errors import RioError

ADVICE = (
    "rio_chain: an object that this call used, such as an HTTP client, belongs to another event loop than the running "
    "one. Another call would fail in the same way, so rio_chain makes none. Make the object on the loop that uses it: "
    "in the function, or when that loop starts. Or run the chain on the loop where the object was made, with "
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
"""How many causes are followed; they may form a cycle."""


def of_another_loop(error: object) -> bool:
    """Whether the error, an explicit cause of it, or an error in its group is about another event loop.

    The implicit context is not followed. A function may try to get the loop, and fail later for another reason.
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
    except Exception:  # noqa: BLE001 - the error class is the user's
        return False
    return any(part in text for part in _TEXTS)


def advise(error: object) -> None:
    """Add the advice to such an error as a note, once: several runs may share the error object."""
    if of_another_loop(error) and not is_advised(error):
        with suppress(Exception):
            cast("Exception", error).add_note(ADVICE)


def is_advised(error: object) -> bool:
    """Whether it has that note."""
    notes: Any = getattr(error, "__notes__", ())
    return isinstance(notes, list) and ADVICE in notes
