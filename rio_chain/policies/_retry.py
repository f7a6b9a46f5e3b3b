"""Retry: how many times to call again, for which errors, and after how long."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

from attrs import evolve, field, frozen

from rio_chain._core.source_text import fn_source, on_source
from rio_chain._core.units import escape_nonprintable
from rio_chain.errors import NEVER_RETRIED
from rio_chain.policies._backoff import DEFAULT_BACKOFF, NOTHING, Backoff, Wait, Waiting, backoff_of
from rio_chain.policies._match_errors import Match, classes, matches
from rio_chain.policies._plain_data import Data, errors, function, number
from rio_chain.policies._policy import Facts, Label, Policy, PolicyBounds, repeated
from rio_chain.policies._retry_after import parse_retry_after, retry_after_of
from rio_chain.policies._wrong_loop_errors import of_another_loop

On = Match | Mapping[type[BaseException], Any]
"""The errors that are retried: a class, several, a predicate, or classes each with its own backoff."""

_ASK_THE_ERROR = object()
_STEPS = 1_000  # bounds compute this many retries one by one; for the rest they use the last wait


@frozen(repr=False)
class ByClass:
    """Classes of errors, each with its own backoff. If several match, the nearest class of the error counts."""

    cases: tuple[tuple[type[BaseException], Waiting], ...]

    def find(self, error: object) -> tuple[Waiting] | None:
        """The backoff for this error, in a tuple of one. None if no class matches."""
        cases = dict(self.cases)
        for cls in type(error).__mro__:
            if cls in cases:
                return (cases[cls],)
        # as everywhere, Exception also means the error value of a returned Failure
        return (cases[Exception],) if Exception in cases and not isinstance(error, BaseException) else None

    def __iter__(self) -> Iterator[type[BaseException]]:
        return (cls for cls, _ in self.cases)

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{fn_source(cls)}: {wait!r}" for cls, wait in self.cases) + "}"


def _on(value: On | ByClass) -> Match | ByClass:
    if isinstance(value, Mapping):
        given = cast("Mapping[type[BaseException], object]", value)
        classes(tuple(given))
        return ByClass(tuple((cls, backoff_of(wait)) for cls, wait in given.items()))
    return value


@frozen
class Retry(Policy):
    """Up to ``retries`` calls after the first, for errors that ``on`` selects; ``accept`` may refuse a value.

    Attributes:
        retries: the number of calls after the first.
        on: the errors. If it gives each class a backoff of its own, ``backoff`` is not used.
        backoff: how long to wait. With None, it does not wait.
        accept: a function of the value; False turns the value into a failure.
        retry_after: a function of the error that returns how long the server asks to wait: seconds, a
            ``timedelta``, a ``datetime`` or the text of a header; None: use the backoff. Without the function
            ``error.retry_after`` is read. If it can't be read, the backoff is used.
        stop: a function of the state, such as a tenacity stop. If it returns True, there is no further attempt.
    """

    builder_call = "retry"
    needs_task = False
    asked = False

    retries: int
    on: Match | ByClass = field(default=Exception, converter=_on, hash=False)
    backoff: Waiting = field(default=DEFAULT_BACKOFF, converter=backoff_of)
    accept: Callable[[Any], bool] | None = field(default=None, hash=False)
    retry_after: Callable[[Any], Any] | None = field(default=None, hash=False)
    stop: Callable[[Any], bool] | None = field(default=None, hash=False)

    @property
    def reads_input(self) -> bool:
        """Whether functions of the user see the input, in the state that they get."""
        kinds = [waits for _, waits in self.on.cases] if isinstance(self.on, ByClass) else [self.backoff]
        return self.stop is not None or any(isinstance(waits, Wait) for waits in kinds)

    def left(self, done: int) -> bool:
        """Whether another retry is allowed after ``done`` retries."""
        return done < self.retries

    def matches(self, error: object) -> bool | None:
        """Whether this error is retried. None if ``on`` is a predicate, which the caller must call."""
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
        retry_after: object = _ASK_THE_ERROR,
        elapsed: float = 0.0,
        idle: float = 0.0,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] = NOTHING,
    ) -> float:
        """Seconds before retry number ``retry`` (0 is the first): the wait of the backoff, or what the server asks for.

        It is the longer of the two, because a server that asks for no wait would else be called in a tight loop. The
        server's wait gets no jitter, and is cut at the most that the backoff allows.

        Args:
            retry: how many retries were made before.
            error: the error of the last attempt.
            previous: the previous delay. None if there was none.
            draw: returns random numbers in [0, 1), for the jitter.
            retry_after: the result of the ``retry_after`` function, if there is one.
            elapsed: seconds since the first attempt began, for a tenacity wait.
            idle: seconds of them that were spent in delays, for a tenacity wait.
            args: the positional arguments of what is retried, for a tenacity wait.
            kwargs: the keyword arguments, for a tenacity wait.
        """
        waits = self.waits(error)
        if isinstance(waits, Wait):
            own = waits.delay(retry, error, elapsed=elapsed, idle=idle, args=args, kwargs=kwargs)
        else:
            own = 0.0 if waits is None else waits.delay(retry, draw, previous)
        asked = parse_retry_after(retry_after_of(error) if retry_after is _ASK_THE_ERROR else retry_after)
        if asked is None:
            return own
        return max(own, min(asked, waits.most_asked) if isinstance(waits, Backoff) else asked)

    def also_on(self, error: type[BaseException]) -> Retry:
        """A copy for one more class of errors. Only if ``on`` is not a predicate."""
        if isinstance(self.on, ByClass):
            return evolve(self, on=ByClass((*self.on.cases, (error, self.on.cases[0][1]))))
        return evolve(self, on=(*self.facts().repeats_after, error))

    # --- its description ----------------------------------------------------------------------------------------

    def source(self) -> str:
        """As ``Policy.source``. Defaults are left out."""
        words = [str(self.retries)]
        if self.on is not Exception:
            words.append(f"on={self.on!r}" if isinstance(self.on, ByClass) else f"on={on_source(self.on)}")
        if self.backoff != DEFAULT_BACKOFF:
            words.append(f"backoff={self.backoff!r}")
        if self.accept is not None:
            words.append(f"accept={fn_source(self.accept)}")
        if self.retry_after is not None:
            words.append(f"retry_after={fn_source(self.retry_after)}")
        if self.stop is not None:
            words.append(f"stop={fn_source(self.stop)}")
        return f".retry({', '.join(words)})"

    def label(self) -> Label:
        """As ``Policy.label``."""
        return Label(f"retry {self.retries}", "again")

    def words(self) -> str:
        """As ``Policy.words``."""
        text = escape_nonprintable(str(self))
        plain = self.on is Exception or isinstance(self.on, ByClass)
        text += "" if plain else f", on {on_source(self.on)}"
        text += f", unless accepted by {fn_source(self.accept)}" if self.accept is not None else ""
        text += f", or as {fn_source(self.retry_after)} says" if self.retry_after is not None else ""
        return text + (f", until {fn_source(self.stop)} says so" if self.stop is not None else "")

    def to_dict(self) -> Data:
        """As ``Policy.to_dict``. If each class of errors has a backoff, ``backoff`` is a list in their order."""
        by_class = self.on.cases if isinstance(self.on, ByClass) else None
        return {
            "kind": "retry",
            "retries": number(self.retries),
            "on": errors(tuple(self.on) if isinstance(self.on, ByClass) else self.on),
            "backoff": _data(self.backoff) if by_class is None else [_data(waits) for _, waits in by_class],
            "accept": function(self.accept),
            "retry_after": function(self.retry_after),
            **({} if self.stop is None else {"stop": function(self.stop)}),
        }

    def facts(self) -> Facts:
        """As ``Policy.facts``."""
        on: object = self.on
        several = tuple(cast("Iterable[object]", on)) if isinstance(on, (tuple, ByClass)) else (on,)
        return Facts(
            calls=self.retries + 1,
            repeats=True,
            repeats_after=tuple(cls for cls in several if isinstance(cls, type) and issubclass(cls, BaseException)),
            refuses_values=self.accept is not None,
        )

    def bounds(self, inner: float, limit: float = math.inf, /) -> PolicyBounds:
        """As ``Policy.bounds``."""
        waits = (self.longest_wait(i) for i in range(min(self.retries, _STEPS)))
        rest = self.retries - _STEPS
        rests = repeated(self.longest_wait(self.retries), rest) if rest > 0 else 0
        time = repeated(inner, self.retries + 1) + sum(waits) + rests
        if limit == math.inf:
            return PolicyBounds(time)
        slowest = self._begun(limit, lambda i: inner + self.longest_wait(i))
        return PolicyBounds(time, slowest, self._begun(limit, self.shortest_wait))

    def _begun(self, limit: float, step: Callable[[int], float]) -> int:
        """How many attempts begin before the limit, if attempt ``i + 1`` begins ``step(i)`` seconds after ``i``."""
        elapsed = 0.0
        for i in range(min(self.retries, _STEPS)):
            elapsed += step(i)
            if elapsed >= limit:
                return i + 1
        return self.retries + 1

    def longest_wait(self, retry: int) -> float:
        """The longest wait before a retry; infinity for a wait of another library, whose bound is unknown."""
        asks = self.retry_after is not None  # then servers may ask for a wait

        def bound(waits: Backoff) -> float:
            return max(waits.bound(retry), waits.most_asked if asks else waits.max_retry_after or 0.0)

        return max(self._over_waits(bound, unknown=math.inf, at_once=math.inf if asks else 0.0))

    def shortest_wait(self, retry: int) -> float:
        """The shortest wait before a retry."""
        return min(self._over_waits(lambda waits: waits.least(retry), unknown=0))

    def _over_waits(
        self, measure: Callable[[Backoff], float], *, unknown: float, at_once: float = 0.0
    ) -> Iterator[float]:
        kinds = [self.backoff] if not isinstance(self.on, ByClass) else [waits for _, waits in self.on.cases]
        return (at_once if kind is None else unknown if isinstance(kind, Wait) else measure(kind) for kind in kinds)

    def __str__(self) -> str:
        if isinstance(self.on, ByClass):
            ways = ", ".join(f"{escape_nonprintable(cls.__name__)}: {_words(wait)}" for cls, wait in self.on.cases)
        else:
            ways = _words(self.backoff)
        times = "once" if self.retries == 1 else f"up to {self.retries} times"
        return f"retry {times}, {ways}"


def _words(waits: Waiting) -> str:
    return "at once" if waits is None else str(waits)


def _data(waits: Waiting) -> Data | None:
    return None if waits is None else waits.to_dict()
