"""Late answers: the answer of a call that no strand waits for any more, such as a response that a hedge did not need.

On every executor an interrupted call may still answer: a thread can't be stopped, and an async function may return a
value after its cancellation. The answer is closed, so that its connection is not leaked.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from rio_chain._core.awaited import awaited
from rio_chain.engine._blocking_call import NO_KWARGS, call_blocking, opened
from rio_chain.engine._current_run import Strand
from rio_chain.engine._runtime_protocol import Raised
from rio_chain.engine._thread_bound_values import Pinned, claim

T = TypeVar("T")
Late = Callable[[Any], None]


class _Parcel:
    """One answer on its way from a call to the strand that waits for it."""

    __slots__ = ("_gone", "_here", "_later", "_lock", "_sent")

    def __init__(self, here: Late, later: Late) -> None:
        self._here = here
        self._later = later
        self._gone = False  # the strand has stopped waiting
        self._sent: list[Any] = []
        self._lock = threading.RLock()

    def sent(self, value: Any) -> Any:
        """The call has answered."""
        with self._lock:
            gone = self._gone
            if not gone:
                self._sent.append(value)
        if gone:
            self._here(opened(value))
        return value

    async def awaited(self, call: Awaitable[Any]) -> Any:
        """Wait for the answer."""
        try:
            got = await call
        except BaseException:
            with self._lock:
                self._gone = True
                sent, self._sent = self._sent, []
            for value in sent:
                self._later(opened(value))
            raise
        self._sent.clear()
        return got


def call_async(strand: Strand, fn: Callable[..., Any], value: Any) -> Awaitable[Any]:
    """``Runtime.call_async`` for a function of one argument."""
    call = strand.rt.call_async
    race = strand.in_race
    if race is None:
        return call(fn, (value,), NO_KWARGS)
    parcel = _Parcel(race.answered_late, race.answered_just_now)

    async def kept(value: Any) -> Any:
        return parcel.sent(await fn(value))

    return parcel.awaited(call(kept, (value,), NO_KWARGS))


async def close_all(strand: Strand, values: Iterable[Any]) -> None:
    """Close values that are not used: a response, a file, a connection. An error in that is ignored."""
    rt = strand.rt
    for given in _each_once(values):
        pinned = given if type(given) is Pinned else claim(strand, given)
        value = given if pinned is None else pinned.value
        for fn in _closers(value, "aclose", "close"):
            with suppress(Exception):
                if pinned is not None:
                    got = await pinned.call(strand, fn, ())
                else:
                    got = fn() if rt.places else await call_blocking(strand, fn, ())
                if hasattr(got, "__await__"):
                    got = await (got if rt.direct else rt.call_async(awaited, (got,), {}))
                if type(got) is not Raised:
                    break  # else try the next closer
        if pinned is not None:
            await pinned.close(strand)


def close_interrupted(strand: Strand, value: Any) -> None:
    """Close a value of an interrupted strand. A race around the strand does it later; else close it now if possible."""
    if strand.in_race is not None:
        strand.in_race.answered_just_now(value)
    else:
        close_here((value,))


def close_here(values: Iterable[Any]) -> None:
    """The same where nothing can be awaited. A value without a sync ``close`` is left to its finaliser."""
    for given in _each_once(values):
        for fn in _closers(given.value if type(given) is Pinned else given, "close"):
            with suppress(Exception):
                got = fn()
                if isinstance(got, Coroutine):
                    got.close()


def _each_once(values: Iterable[Any]) -> list[Any]:
    return list({id(value): value for value in values}.values())


def _closers(value: Any, *names: str) -> list[Callable[..., Any]]:
    if isinstance(value, type):
        return []
    found: list[Any] = []
    with suppress(Exception):
        found = [getattr(value, name, None) for name in names]
    return [fn for fn in found if callable(fn)]
