"""Retry: how often again, for which errors, and after how long."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from attrs import field, frozen

from rio_chain._core.units import escape_nonprintable
from rio_chain.errors import NEVER_RETRIED
from rio_chain.policies._backoff import DEFAULT_BACKOFF, Backoff, Wait, Waiting, backoff_of
from rio_chain.policies._match_errors import Match, classes, matches
from rio_chain.policies._retry_after import parse_retry_after, retry_after_of
from rio_chain.policies._wrong_loop_errors import of_another_loop

On = Match | Mapping[type[BaseException], Any]
"""Which errors are worth another attempt: a class, several, a predicate, or classes each with its own backoff."""

_ASK_THE_ERROR = object()


@frozen(repr=False)
class ByClass:
    """Classes of errors, each with its own backoff. Of several that fit, the one nearest to the error counts."""

    cases: tuple[tuple[type[BaseException], Waiting], ...]

    def find(self, error: object) -> tuple[Waiting] | None:
        """The backoff for this error, in a tuple of one; None: it is not one of these."""
        cases = dict(self.cases)
        for cls in type(error).__mro__:
            if cls in cases:
                return (cases[cls],)
        # as everywhere, Exception also means the error value of a returned Failure
        return (cases[Exception],) if Exception in cases and not isinstance(error, BaseException) else None

    def __iter__(self) -> Iterator[type[BaseException]]:
        return (cls for cls, _ in self.cases)

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{escape_nonprintable(cls.__name__)}: {wait!r}" for cls, wait in self.cases) + "}"


def _on(value: On | ByClass) -> Match | ByClass:
    if isinstance(value, Mapping):
        given = cast("Mapping[type[BaseException], object]", value)
        classes(tuple(given))
        return ByClass(tuple((cls, backoff_of(wait)) for cls, wait in given.items()))
    return value


@frozen
class Retry:
    """Up to ``retries`` calls after the first, for errors that ``on`` names; ``accept`` may refuse a value.

    Attributes:
        retries: calls after the first.
        on: which errors; where it gives each class a backoff of its own, ``backoff`` is not used.
        backoff: how long to wait; None is no wait.
        accept: a function of the value; False makes a failure of it.
        retry_after: a function of the error that says how long the server wants us to wait: seconds, a
            ``timedelta``, a ``datetime`` or a header's text; None leaves it to the backoff. Without it
            ``error.retry_after`` is looked at. What can't be read leaves it to the backoff, too.
    """

    retries: int
    on: Match | ByClass = field(default=Exception, converter=_on, hash=False)
    backoff: Waiting = field(default=DEFAULT_BACKOFF, converter=backoff_of)
    accept: Callable[[Any], bool] | None = field(default=None, hash=False)
    retry_after: Callable[[Any], Any] | None = field(default=None, hash=False)

    def left(self, done: int) -> bool:
        """Whether another retry is allowed after ``done`` of them."""
        return done < self.retries

    def matches(self, error: object) -> bool | None:
        """Whether this error is worth another attempt; None: ask the predicate ``on``."""
        if isinstance(error, NEVER_RETRIED) or of_another_loop(error):
            return False
        return self.on.find(error) is not None if isinstance(self.on, ByClass) else matches(self.on, error)

    def waits(self, error: object) -> Waiting:
        """The backoff for this error. A ``Wait`` is the user's code, and so is ``delay`` then."""
        found = self.on.find(error) if isinstance(self.on, ByClass) else None
        return self.backoff if found is None else found[0]

    def delay(
        self,
        retry: int,
        error: object,
        previous: float | None = None,
        *,
        draw: Callable[[], float] = random.random,
        told: object = _ASK_THE_ERROR,
        elapsed: float = 0.0,
        idle: float = 0.0,
    ) -> float:
        """Seconds before retry number ``retry`` (0 is the first): the backoff's wait, or what the server asks for.

        The longer of the two, as a server that says "at once" to everybody would be called in a tight loop. What it
        asks for gets no jitter, and is cut at the most that the backoff allows.

        Args:
            retry: how many retries were made before.
            error: what the last attempt failed with.
            previous: the delay before the retry before; None: there was none.
            draw: gives numbers in [0, 1), for the jitter.
            told: what ``retry_after`` said, if there is such a function.
            elapsed: seconds since the first attempt began, for a tenacity wait.
            idle: seconds of them spent in such delays, for a tenacity wait.
        """
        waits = self.waits(error)
        if isinstance(waits, Wait):
            own = waits.delay(retry, error, elapsed=elapsed, idle=idle)
        else:
            own = 0.0 if waits is None else waits.delay(retry, draw, previous)
        asked = parse_retry_after(retry_after_of(error) if told is _ASK_THE_ERROR else told)
        if asked is None:
            return own
        return max(own, min(asked, waits.most_asked) if isinstance(waits, Backoff) else asked)

    def __str__(self) -> str:
        if isinstance(self.on, ByClass):
            ways = ", ".join(f"{escape_nonprintable(cls.__name__)}: {_words(wait)}" for cls, wait in self.on.cases)
        else:
            ways = _words(self.backoff)
        times = "once" if self.retries == 1 else f"up to {self.retries} times"
        return f"retry {times}, {ways}"


def _words(waits: Waiting) -> str:
    return "at once" if waits is None else str(waits)
