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
    """What happens to one call: it lasts ``delay`` seconds, then it fails with ``error``; None: it answers."""

    delay: float
    error: Error | None = None


@frozen(kw_only=True)
class LatencyModel:
    """How a backend behaves: how long its calls take, how often they fail, when it is down. Immutable, no state.

    Made by ``constant``, ``uniform``, ``exponential``, ``lognormal`` or ``empirical``, and refined by calls that each
    give a new model. What happens to a call is drawn from a ``random.Random``, so the same seed gives the same calls.
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

    # --- how long ------------------------------------------------------------------------------------------------

    @classmethod
    def constant(cls, ms: Duration, /) -> LatencyModel:
        """Every call takes ``ms``; 0 or more.

        Raises:
            ChainDefinitionError: not a finite duration, 0 or more. So with all of these.
        """
        return cls(latency=Constant(seconds(ms, "ms", zero=True)))

    @classmethod
    def uniform(cls, low: Duration, high: Duration) -> LatencyModel:
        """Anything from ``low`` to ``high``, all alike."""
        return cls(latency=Uniform(seconds(low, "low", zero=True), seconds(high, "high", zero=True)))

    @classmethod
    def exponential(cls, mean: Duration) -> LatencyModel:
        """Exponential with that mean: what most of queueing theory is about."""
        return cls(latency=Exponential(seconds(mean, "mean")))

    @classmethod
    def lognormal(cls, median: Duration, *, p99: Duration) -> LatencyModel:
        """Lognormal: half of the calls take up to ``median``, 99 % up to ``p99``. Most backends look like that."""
        return cls(latency=Lognormal(seconds(median, "median"), seconds(p99, "p99")))

    @classmethod
    def empirical(cls, samples: Iterable[Duration], /) -> LatencyModel:
        """Latencies that were measured, each as likely as the others."""
        return cls(latency=empirical(samples))

    # --- what goes wrong -----------------------------------------------------------------------------------------

    def failing(self, rate: float, error: Error, *, after: Duration | None = None) -> LatencyModel:
        """A share of the calls fails.

        Args:
            rate: 0 to 1. That of several ``failing`` and ``stalling`` adds up.
            error: an exception, its class, or a ``Failure`` that is returned.
            after: how long a failing call takes. Default: as long as one that answers.

        Example:
            >>> LatencyModel.constant(20).failing(0.05, ConnectionError, after=2)
            <LatencyModel 20 ms; 5 % fail with ConnectionError after 2 ms>
        """
        late = None if after is None else seconds(after, "after", zero=True)
        return self._checked(faults=(*self.faults, Fault(_faults.rate(rate), _faults.checked(error), late)))

    def stalling(self, rate: float, ms: Duration) -> LatencyModel:
        """A share of the calls, ``rate`` from 0 to 1, takes ``ms`` and not what is drawn: a lost packet, a full GC."""
        return self._checked(stalls=(*self.stalls, Stall(_faults.rate(rate), seconds(ms, "ms", zero=True))))

    def outage(
        self, start: Duration, end: Duration, *, error: Error = ConnectionError, after: Duration = 0
    ) -> LatencyModel:
        """Every call that begins from ``start`` on and before ``end`` fails.

        Args:
            start: of a simulation's clock; of a ``Script`` since its time began (see there).
            end: more than ``start``.
            error: as for ``failing``.
            after: how long such a call takes. Default 0: refused at once.
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
        if total > 1 + 1e-9:  # rates that were learned are quotients
            raise ChainDefinitionError(f"`rate` must leave all of them together at 1 or less; got {total:g}")
        return new

    # --- what is answered ----------------------------------------------------------------------------------------

    def returning(self, value: Any, /) -> LatencyModel:
        """The calls that don't fail answer with ``value``; without this with None.

        A list, dict, set or bytearray is copied for each call, also inside.
        """
        if is_container(value):
            copyable(value, "`returning` copies a container for each call", "give the task a function that answers it")
        return evolve(self, value=value)

    def answer(self) -> Any:
        """What a call that does not fail answers."""
        return fresh_answer(self.value)

    # --- drawing -------------------------------------------------------------------------------------------------

    def draw(self, random: Random, at: Duration = 0) -> Fate:
        """What happens to a call that begins ``at`` milliseconds. It takes exactly two numbers from ``random``.

        Returns:
            ``(delay, error)``: the delay in seconds, as all inner times are; the error is None for an answer.
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
        """The mean time of a call in milliseconds, failures and stalls included, outages not."""
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

    # --- from production, and to it ------------------------------------------------------------------------------

    @staticmethod
    def from_outcomes(outcomes: Iterable[Outcome[Any]], /) -> dict[str, LatencyModel]:
        """Learn a model for each task from runs that really happened: latencies as measured, failures by class.

        Tasks that are ``.inline()`` call no backend, so they get none.

        It learns from ``Response.spans``, so retries, hedges and items count call by call, without the waits between:

        * a call that answered is a latency. Of more than 10,000 that many quantiles are kept.
        * a call that failed counts for its class of errors, with the median of how long such calls took.
        * a call that was cut off, by a limit or because another one won, is known to have lasted longer. It counts for
          those that did (Kaplan and Meier). What lasted longer than all that was seen ``stalls``, for 1 % longer than
          the longest wait: how long really, nobody has seen. Record with wide limits if that matters.

        It can't learn what calls have to do with each other: a backend that is slow under load, bad hours, slow users.
        Answers are not kept; ``returning`` adds them. A ``Failure`` that a function returned is kept by the class of
        its error alone.

        Args:
            outcomes: of any chains; tasks of one name are one backend.

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
        from rio_chain.simulation._learned_models import learned  # noqa: PLC0415 - few ask for it

        return learned(outcomes, LatencyModel)

    @staticmethod
    def save(models: Mapping[str, LatencyModel], path: str | os.PathLike[str], /) -> None:
        """Write models by name to a JSON file.

        Raises:
            ChainDefinitionError: not a dict of models, or a value or an error that JSON can't hold.
        """
        from rio_chain.simulation._stored_models import save  # noqa: PLC0415 - few ask for it

        save(models, path, LatencyModel)

    @staticmethod
    def load(path: str | os.PathLike[str], /, *, errors: Iterable[type[Exception]] = ()) -> dict[str, LatencyModel]:
        """Read what ``save`` wrote.

        Args:
            path: of the file.
            errors: classes of errors that the file may name. Python's own and those of rio_chain are known; nothing is
                imported because a file says so.

        Raises:
            ChainDefinitionError: it is no such file, of a newer version, says something unknown, or names a class that
                was not given.
        """
        from rio_chain.simulation._stored_models import load  # noqa: PLC0415 - few ask for it

        return load(path, errors, LatencyModel)
