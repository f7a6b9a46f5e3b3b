"""LatencyModel: how long the calls of a backend take, and how often and when they fail."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any, NamedTuple

from attrs import evolve, frozen

from rio_chain._core.copied_constants import copyable, fresh_answer, is_container
from rio_chain._core.units import Duration, format_duration, milliseconds, seconds, short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.results._outcome import Outcome
from rio_chain.simulation import _faults
from rio_chain.simulation._faults import Error, Fault, Outage, Stall
from rio_chain.simulation._latencies import Constant, Exponential, Latency, Lognormal, Uniform, empirical


class Fate(NamedTuple):
    """What happens to one call: it takes ``delay`` seconds, then fails with ``error``, or answers if that is None."""

    delay: float
    error: Error | None = None


@frozen(kw_only=True)
class LatencyModel:
    """How a backend behaves: how long its calls take, how often they fail, when it is down. Immutable, without a state.

    Make it with ``constant``, ``uniform``, ``exponential``, ``lognormal`` or ``empirical``. Further calls each give a
    new, refined model. What happens to a call is drawn from a ``random.Random``, so the same seed gives the same calls.
    Times are milliseconds or a ``timedelta``.

    Example:
        >>> from rio_chain.testing import LatencyModel
        >>> LatencyModel.lognormal(20, p99=150).failing(0.02, OSError).stalling(0.01, 5000)
        <LatencyModel lognormal, median 20 ms, p99 150 ms; 2 % fail with OSError; 1 % take 5000 ms>
    """

    latency: Latency
    faults: tuple[Fault, ...] = ()
    stalls: tuple[Stall, ...] = ()
    outages: tuple[Outage, ...] = ()
    value: Any = None

    def __attrs_post_init__(self) -> None:
        given: Any = self.latency
        if not isinstance(given, Latency):
            raise ChainDefinitionError(
                f"write LatencyModel.constant(20) or the like; got {short_repr(given)} for `latency`"
            )

    # --- latency -------------------------------------------------------------------------------------------------

    @classmethod
    def constant(cls, ms: Duration, /) -> LatencyModel:
        """Every call takes ``ms``; 0 or more.

        Raises:
            ChainDefinitionError: not a finite duration, 0 or more. The same holds for the methods below.
        """
        return cls(latency=Constant(seconds(ms, "ms", zero=True)))

    @classmethod
    def uniform(cls, low: Duration, high: Duration) -> LatencyModel:
        """All durations from ``low`` to ``high``, equally likely."""
        return cls(latency=Uniform(seconds(low, "low", zero=True), seconds(high, "high", zero=True)))

    @classmethod
    def exponential(cls, mean: Duration) -> LatencyModel:
        """An exponential distribution with this mean, as in queueing theory."""
        return cls(latency=Exponential(seconds(mean, "mean")))

    @classmethod
    def lognormal(cls, median: Duration, *, p99: Duration) -> LatencyModel:
        """Lognormal: half of the calls take up to ``median``, 99 % up to ``p99``. Most backends are similar."""
        return cls(latency=Lognormal(seconds(median, "median"), seconds(p99, "p99")))

    @classmethod
    def empirical(cls, samples: Iterable[Duration], /) -> LatencyModel:
        """Measured latencies, all equally likely."""
        return cls(latency=empirical(samples))

    # --- faults --------------------------------------------------------------------------------------------------

    def failing(self, rate: float, error: Error, *, after: Duration | None = None) -> LatencyModel:
        """A share of the calls fails.

        Args:
            rate: 0 to 1. The rates of several ``failing`` and ``stalling`` add up.
            error: an exception, its class, or a ``Failure`` that is returned.
            after: how long a failing call takes. Default: as long as a call that answers.

        Example:
            >>> LatencyModel.constant(20).failing(0.05, ConnectionError, after=2)
            <LatencyModel 20 ms; 5 % fail with ConnectionError after 2 ms>
        """
        late = None if after is None else seconds(after, "after", zero=True)
        return self._checked(faults=(*self.faults, Fault(_faults.rate(rate), _faults.checked(error), late)))

    def stalling(self, rate: float, ms: Duration) -> LatencyModel:
        """A share of the calls, ``rate`` from 0 to 1, takes ``ms`` instead: a lost packet, a garbage collection."""
        return self._checked(stalls=(*self.stalls, Stall(_faults.rate(rate), seconds(ms, "ms", zero=True))))

    def outage(
        self, start: Duration, end: Duration, *, error: Error = ConnectionError, after: Duration = 0
    ) -> LatencyModel:
        """Every call that begins from ``start`` on and before ``end`` fails.

        Args:
            start: on the clock of the simulation; for a ``Script`` see the times of ``Script.calls``.
            end: more than ``start``.
            error: as for ``failing``.
            after: how long such a call takes. Default 0: it is refused at once.
        """
        begin, over = seconds(start, "start", zero=True), seconds(end, "end")
        if over <= begin:
            raise ChainDefinitionError(
                f"`end` must be more than `start`; got {format_duration(over)}, not after {format_duration(begin)}"
            )
        down = Outage(begin, over, _faults.checked(error), seconds(after, "after", zero=True))
        return evolve(self, outages=(*self.outages, down))

    def _checked(self, **more: Any) -> LatencyModel:
        new = evolve(self, **more)
        total = sum(fault.rate for fault in new.faults) + sum(stall.rate for stall in new.stalls)
        if total > 1 + 1e-9:  # learned rates are quotients
            raise ChainDefinitionError(f"`rate` and the rates before it must be at most 1 together; got {total:g}")
        return new

    # --- answers -------------------------------------------------------------------------------------------------

    def returning(self, value: Any, /) -> LatencyModel:
        """Calls that don't fail answer with ``value``. The default is None.

        A list, dict, set or bytearray is copied deeply for each call.
        """
        if is_container(value):
            copyable(value, "`returning` copies a container for each call", "give the task a function that returns it")
        return evolve(self, value=value)

    def answer(self) -> Any:
        """The answer of a call that does not fail."""
        return fresh_answer(self.value)

    # --- random draws --------------------------------------------------------------------------------------------

    def draw(self, random: Random, at: Duration = 0) -> Fate:
        """Draw what happens to a call that begins at ``at`` milliseconds. It uses exactly two numbers of ``random``.

        Returns:
            ``(delay, error)``: the delay in seconds, as internal times are; the error is None for an answer.
        """
        share, spread = random.random(), random.random()
        if self.outages:
            now = seconds(at, "at", zero=True)
            for down in self.outages:
                if down.start <= now < down.end:
                    return Fate(down.after, down.error)
        for fault in self.faults:
            if share < fault.rate:
                return Fate(self.latency.quantile(spread) if fault.after is None else fault.after, fault.error)
            share -= fault.rate
        for stall in self.stalls:
            if share < stall.rate:
                return Fate(stall.delay)
            share -= stall.rate
        return Fate(self.latency.quantile(spread))

    @property
    def mean(self) -> float:
        """The mean time of a call in milliseconds, with failures and stalls, without outages."""
        rest, total = 1.0, 0.0
        for fault in self.faults:
            rest -= fault.rate
            total += fault.rate * (self.latency.mean if fault.after is None else fault.after)
        for stall in self.stalls:
            rest -= stall.rate
            total += stall.rate * stall.delay
        return milliseconds(total + max(0.0, rest) * self.latency.mean)

    def __repr__(self) -> str:
        parts = (str(part) for part in (self.latency, *self.faults, *self.stalls, *self.outages))
        value = "" if self.value is None else f"; answers {short_repr(self.value)}"
        return f"<LatencyModel {'; '.join(parts)}{value}>"

    # --- learning and storing ------------------------------------------------------------------------------------

    @staticmethod
    def from_outcomes(outcomes: Iterable[Outcome[Any]], /) -> dict[str, LatencyModel]:
        """Learn a model for each task from real runs: latencies as measured, failures by class.

        Tasks that are ``.inline()`` call no backend, so they get no model.

        It learns from ``Response.spans``: each call of a retry, a hedge or an item counts, and the waits between do
        not.

        * A call that answered is a latency. If there are more than 10,000, their quantiles are kept instead.
        * A call that failed counts for its class of errors, with the median time of such calls.
        * A call that was cut off, by a limit or because another one won, would have lasted longer. It counts for the
          calls that did (Kaplan and Meier). If no call lasted longer, it ``stalls`` for 1 % more than the longest wait,
          because its true time is unknown. Record runs with wide limits if that matters.

        It can't learn dependencies: a backend that is slow under load, bad hours, slow users. It does not keep answers;
        ``returning`` adds them. It keeps a ``Failure`` that a function returned only by the class of its error.

        Args:
            outcomes: of any chains. Tasks with the same name are one backend.

        Raises:
            ChainDefinitionError: not a list of Outcomes.

        Example:
            >>> from rio_chain import Task
            >>> from rio_chain.testing import LatencyModel
            >>> outcomes = [Task(len)("four").run() for _ in range(3)]
            >>> models = LatencyModel.from_outcomes(outcomes)
            >>> list(models), models["len"].faults
            (['len'], ())
        """
        from rio_chain.simulation._learned_models import learned  # noqa: PLC0415 - only imported when needed

        return learned(outcomes, LatencyModel)

    @staticmethod
    def save(models: Mapping[str, LatencyModel], path: str | os.PathLike[str], /) -> None:
        """Write models by name to a JSON file.

        Raises:
            ChainDefinitionError: not a dict of models, or it contains a value or an error that JSON can't hold.
        """
        from rio_chain.simulation._stored_models import save  # noqa: PLC0415 - only imported when needed

        save(models, path, LatencyModel)

    @staticmethod
    def load(path: str | os.PathLike[str], /, *, errors: Iterable[type[Exception]] = ()) -> dict[str, LatencyModel]:
        """Read models that ``save`` wrote.

        Args:
            path: of the file.
            errors: error classes that the file may name. Those of Python and of rio_chain are known. A name in the file
                never imports anything.

        Raises:
            ChainDefinitionError: the file has another format, a newer version or unknown keys, or names a class that
                was not given.
        """
        from rio_chain.simulation._stored_models import load  # noqa: PLC0415 - only imported when needed

        return load(path, errors, LatencyModel)
