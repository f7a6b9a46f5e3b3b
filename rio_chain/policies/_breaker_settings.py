"""The settings of a breaker: what counts as a failure, how many open it, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any, cast

from rio_chain._core.signatures import arity
from rio_chain._core.units import Duration, count, format_duration, milliseconds, seconds, short_repr
from rio_chain.errors import NEVER_RETRIED, ChainDefinitionError
from rio_chain.policies._breaker_counts import Counts, InARow, Latest, Rolling, Within
from rio_chain.policies._checks import callback, label, share, title
from rio_chain.policies._match_errors import Match, is_classes, match_of, matches, names
from rio_chain.policies._number_format import exact_number
from rio_chain.policies._permit import UserQuestion
from rio_chain.policies._plain_data import Data, errors, function, ms, number
from rio_chain.policies._wrong_loop_errors import of_another_loop

_MIN_CALLS = 10
_DEFAULT_OPEN = 30.0

OpenFor = Duration | Callable[[Any, int], Duration]
"""How long it stays open, or a function of what opened it and of how often it has opened."""


class BreakerSettings:
    """What a breaker was made with. Its attributes can be read, and do not change."""

    def _set(
        self,
        failures: int,
        *,
        ratio: float | None,
        window: Duration,
        min_calls: int | None,
        within: Duration | None,
        last: int | None,
        open_for: OpenFor,
        successes: int,
        on: Match,
        exclude: Match,
        name: str | None,
    ) -> None:
        """Check the arguments of a breaker."""
        self._failures = count(failures, "failures", least=1)
        self._ratio = None if ratio is None else share(ratio, "ratio")
        self._window = seconds(window, "window")
        self._last = None if last is None else count(last, "last", least=1)
        self._within = None if within is None else seconds(within, "within")
        fewest = min(_MIN_CALLS, self._last or _MIN_CALLS)
        self._min_calls = fewest if min_calls is None else count(min_calls, "min_calls", least=1)
        self._check_counts()
        self._fixed, self._grows = _open_for(open_for)
        self._successes = count(successes, "successes", least=1)
        self._on = match_of(on)
        self._exclude: Match = () if exclude == () else match_of(exclude, "exclude")
        _check_exclude(self._on, self._exclude)
        self._name = label(name)
        plain = is_classes(self._on) and is_classes(self._exclude)
        self._asks = not plain or self._grows is not None

    def _check_counts(self) -> None:
        last, ratio = self._last, self._ratio
        if self._within is not None and ratio is not None:
            raise ChainDefinitionError("`within` belongs to `failures`; with a `ratio`, write `window=` for the time")
        if self._within is not None and last is not None:
            raise ChainDefinitionError("give `within` or `last`, not both: a time, or a number of calls")
        if last is not None and ratio is None and last < self._failures:
            raise ChainDefinitionError(
                f"`last` must be at least `failures`, which is {self._failures}, else it never opens; got {last}"
            )
        if last is not None and self._min_calls > last:
            raise ChainDefinitionError(
                f"`min_calls` must be at most `last`, which is {last}, else it never opens; got {self._min_calls}"
            )

    def _new_counts(self) -> Counts:
        failures, ratio, last, fewest = self._failures, self._ratio, self._last, self._min_calls
        if ratio is not None and last is not None:
            data = {"ratio": ratio, "min_calls": number(fewest)}
            rule = f"{exact_number(ratio * 100)} % failures of {fewest} or more of the last {last} calls"
            return Latest(last, partial(_share_failed, ratio, fewest), rule, data)
        if ratio is not None:
            return Rolling(ratio, self._window, fewest)
        if last is not None:
            rule = f"{failures} failures of the last {last} calls"
            return Latest(last, partial(_so_many_failed, failures), rule, {"failures": number(failures)})
        return InARow(failures) if self._within is None else Within(failures, self._within)

    def counts(self, error: object) -> Generator[UserQuestion, bool, bool | None]:
        """Returns True if a call with this error counts as a success, and False if it counts as a failure.

        Returns None if it does not count. Yields the questions that functions of the user have to answer.
        """
        if isinstance(error, NEVER_RETRIED) or of_another_loop(error):
            return None
        failed = matches(self._on, error)
        if failed is None:
            failed = yield UserQuestion("on", cast("Any", self._on), (error,))
        if failed and self._exclude != ():
            excluded = matches(self._exclude, error)
            if excluded is None:
                excluded = yield UserQuestion("exclude", cast("Any", self._exclude), (error,))
            failed = not excluded
        return not failed

    # --- its settings -------------------------------------------------------------------------------------------

    @property
    def failures(self) -> int:
        """As given. How many failures there are now is in ``stats()``."""
        return self._failures

    @property
    def ratio(self) -> float | None:
        """As given."""
        return self._ratio

    @property
    def window(self) -> float:
        """In milliseconds."""
        return milliseconds(self._window)

    @property
    def min_calls(self) -> int:
        """As given, or the default."""
        return self._min_calls

    @property
    def within(self) -> float | None:
        """In milliseconds; None if it was not given."""
        return None if self._within is None else milliseconds(self._within)

    @property
    def last(self) -> int | None:
        """As given."""
        return self._last

    @property
    def open_for(self) -> float | Callable[[Any, int], Duration]:
        """In milliseconds, or the function that was given."""
        return milliseconds(self._fixed) if self._grows is None else self._grows.fn

    @property
    def successes(self) -> int:
        """As given. How many probes have succeeded is in ``stats()``."""
        return self._successes

    @property
    def on(self) -> Match:
        """As given."""
        return self._on

    @property
    def exclude(self) -> Match:
        """As given; an empty tuple if it was not."""
        return self._exclude

    @property
    def name(self) -> str | None:
        """The name, in printable ASCII. None if it has none."""
        return self._name or None

    # --- its description ----------------------------------------------------------------------------------------

    def _data(self) -> Data:
        """The settings as plain data. Arguments that came later are left out if they have their default."""
        later = {
            "open_for": None if self._grows is None else function(self._grows.fn),
            "successes": None if self._successes == 1 else number(self._successes),
            "exclude": None if self._exclude == () else errors(self._exclude),
        }
        given = {name: value for name, value in later.items() if value is not None}
        data = {
            "open_for_ms": ms(self._fixed) if self._grows is None else None,
            "on": errors(self._on),
            "name": self._name or None,
        }
        return {"kind": "breaker", **self._new_counts().to_dict(), **data, **given}

    def _words(self) -> str:
        grows = self._grows
        lasts = format_duration(self._fixed) if grows is None else f"as long as {title(grows.fn)} says"
        probes = "" if self._successes == 1 else f", {self._successes} probes close it"
        on = "" if self._on is Exception else f", on {names(self._on)}"
        but = "" if self._exclude == () else f", not on {names(self._exclude)}"
        rule = self._new_counts().rule
        return f"breaker{self._name and ' ' + self._name}, {rule} open it for {lasts}{probes}{on}{but}"


def _share_failed(ratio: float, fewest: int, failures: int, calls: int) -> bool:
    return calls >= fewest and failures >= ratio * calls


def _so_many_failed(most: int, failures: int, _calls: int) -> bool:
    return failures >= most


class OpenForFunction:
    """The ``open_for`` function of the user. It returns seconds."""

    __slots__ = ("fn",)

    def __init__(self, fn: Callable[[Any, int], Duration]) -> None:
        self.fn = fn

    @property
    def __name__(self) -> str:
        """The name of the user's function, for errors."""
        return title(self.fn)

    def __call__(self, error: Any, times: int) -> float:
        got = self.fn(error, times)
        try:
            return seconds(got, "open_for")
        except ChainDefinitionError:
            rule = "must return a finite number of milliseconds (or a timedelta), more than 0"
            raise TypeError(f"{title(self.fn)} {rule}; got {short_repr(got)}") from None


def _open_for(value: object) -> tuple[float, OpenForFunction | None]:
    """A fixed time in seconds, and a function that replaces it."""
    if not callable(value):
        return seconds(value, "open_for"), None
    rule = "milliseconds, or a function of the error and of how many times the breaker has opened"
    fn = callback(value, "open_for", rule, one=False)
    if not arity(fn).takes(2):
        raise ChainDefinitionError(f"`open_for` must be {rule}, and `{title(fn)}` can't be called with two arguments")
    return _DEFAULT_OPEN, OpenForFunction(fn)


def _check_exclude(on: Match, exclude: Match) -> None:
    """Refuse classes of ``exclude`` that leave no error of ``on``."""
    if not is_classes(on) or not is_classes(exclude):
        return
    several: tuple[type[BaseException], ...] = on if isinstance(on, tuple) else (on,)
    if all(issubclass(cls, exclude) for cls in several):
        raise ChainDefinitionError(
            f"`exclude` leaves no error that could be a failure: {names(exclude)} includes all of {names(on)}"
        )
