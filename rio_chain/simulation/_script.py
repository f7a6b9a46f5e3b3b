"""Script: a backend that does what you wrote, call by call, and records its calls."""

from __future__ import annotations

import threading
from collections.abc import Callable
from random import Random
from typing import Any, cast

from attrs import evolve, frozen
from returns.result import Failure

from rio_chain._core.copied_constants import copyable, fresh_answer, is_container
from rio_chain._core.forks import after_fork, renewed
from rio_chain._core.units import Duration, escape_nonprintable, format_duration, milliseconds, seconds, short_repr
from rio_chain.engine._current_run import Here, here
from rio_chain.errors import ChainDefinitionError
from rio_chain.executors import runtime_here
from rio_chain.executors._sleep import sleep_here
from rio_chain.simulation import _faults
from rio_chain.simulation._faults import Error
from rio_chain.simulation._latency_models import LatencyModel
from rio_chain.simulation._script_calls import CallNote, ScriptCall


class ScriptEnded(BaseException):
    """A script was called more often than it has steps. It ends the run, and ``run()`` or ``await`` raises it.

    The test is wrong, not the backend. So it is no ``Exception``, which a retry or a fallback would hide.
    """


@frozen
class Step:
    """One call: after ``delay`` seconds it answers with ``value``, or fails with ``error`` if there is one."""

    delay: float
    value: Any = None
    error: Error | None = None

    def answer(self) -> Any:
        """The answer. A list, dict, set or bytearray is copied each time."""
        return fresh_answer(self.value)

    def __str__(self) -> str:
        after = f", after={format_duration(self.delay)[:-3]}" if self.delay else ""
        if self.error is None:
            return f".then({short_repr(self.value)}{after})"
        return f".then_raises({_faults.source(self.error)}{after})"


class Script:
    """A backend for tests: each call takes the next step that you wrote, and is recorded.

    Use it wherever a function is used: in a ``Task``, as a bridge, in ``chain.with_backends({"f": script})``. It takes
    any arguments. It is async, so it waits on the clock of its run.

    ``then`` and ``then_raises`` are one call each. ``delays`` sets how long the steps *after* it take, one each; a step
    with an ``after`` of its own uses none of them. The last step may repeat for ever: ``always``, ``forever``,
    ``model``. Each of these methods gives a new script without calls, so several scripts can share a beginning.

    A script has one sequence of steps, whoever calls it: two tasks, attempts and replicas each take the next step. You
    may call it on any thread and any executor.

    Args:
        seed: for the random numbers of a ``model``; a whole number or a string. Default 0.

    Raises:
        ScriptEnded: it is called and no step is left. That ends the run, which raises it.

    Example:
        >>> from rio_chain import Task
        >>> from rio_chain.testing import Script
        >>> script = Script().then_raises(OSError).then("user 42")
        >>> Task(script).retry(1, backoff=None)(42).run().unwrap()
        'user 42'
        >>> [(call.args, call.status) for call in script.calls]
        [((42,), 'failed'), ((42,), 'succeeded')]
    """

    __slots__ = (
        "__weakref__",
        "_calls",
        "_clock",
        "_delays",
        "_family",
        "_last",
        "_lock",
        "_random",
        "_seed",
        "_steps",
        "_taken",
    )

    def __init__(self, *, seed: int | str = 0) -> None:
        if isinstance(seed, bool) or not isinstance(cast("object", seed), (int, str)):
            raise ChainDefinitionError(f"`seed` must be a whole number or a string; got {short_repr(seed)}")
        self._seed = seed
        self._steps: tuple[Step, ...] = ()
        self._delays: tuple[float, ...] = ()
        self._last: Step | LatencyModel | None = None
        self._family: list[Script] | None = None  # the latest scripts made from one that is checked at the end
        self._lock = threading.RLock()
        self._calls: list[CallNote] = []
        self._taken = 0
        self._random = Random(str(seed))  # noqa: S311 - no secret
        self._clock: tuple[Callable[[], float] | None, float] = (None, 0.0)
        after_fork(self._renew)

    def _renew(self) -> None:
        """In a forked child, renew the lock."""
        self._lock = renewed(self._lock)

    # --- steps ---------------------------------------------------------------------------------------------------

    def delays(self, *ms: Duration) -> Script:
        """How long the following steps take, one duration each: milliseconds or a ``timedelta``; 0 or more.

        Example:
            >>> Script().delays(20, 30).then_raises(OSError).then(5)
            Script().then_raises(OSError, after=20).then(5, after=30)
        """
        if not ms:
            raise ChainDefinitionError("`delays` needs at least one duration, as in .delays(20, 30)")
        return self._new(delays=(*self._delays, *(seconds(one, "delays", zero=True) for one in ms)))

    def then(self, value: Any, /, *, after: Duration | None = None) -> Script:
        """The next call answers with ``value``.

        Args:
            value: a list, dict, set or bytearray is copied deeply for each call. A ``Failure`` fails the call, as when
                a function returns it.
            after: how long it takes. Default: as ``delays`` says, else 0.

        Raises:
            ChainDefinitionError: ``value`` is an exception, for which there is ``then_raises``, or a container that
                can't be copied; ``after`` is not a duration.
        """
        given: Any = value
        kind: type[Any] = given if isinstance(given, type) else type(given)
        if issubclass(kind, BaseException):
            name = escape_nonprintable(kind.__name__)
            raise ChainDefinitionError(f"`then` takes the answer; to raise {name} write .then_raises({name})")
        if issubclass(kind, Failure) and kind is not given:
            return self._step(after, None, _faults.checked(value))
        if is_container(value):
            copyable(
                value, "`then` copies a container for each call", "give the task a function in place of the script"
            )
        return self._step(after, value, None)

    def then_raises(self, error: Error, /, *, after: Duration | None = None) -> Script:
        """The next call fails with ``error``: an exception, or its class, which is called without arguments."""
        return self._step(after, None, _faults.checked(error))

    def forever(self) -> Script:
        """All further calls repeat the last step. They take the ``delays`` that are left, the last one for ever."""
        if not self._steps or self._last is not None:
            raise ChainDefinitionError("`forever` repeats the step before it, as in .then(5).forever(); there is none")
        step = self._steps[-1]
        further = tuple(evolve(step, delay=delay) for delay in self._delays)
        return self._new(steps=(*self._steps, *further[:-1]), delays=(), last=further[-1] if further else step)

    def always(self, value: Any, /, *, after: Duration | None = None) -> Script:
        """The next call and all after it answer with ``value``: ``.then(value).forever()``."""
        return self.then(value, after=after).forever()

    def model(self, model: LatencyModel, /) -> Script:
        """All further calls do what is drawn from ``model``, with the script's seed, in the order in which they begin.

        Outages of the model are on the clock of ``calls``.
        """
        if not isinstance(cast("object", model), LatencyModel):
            raise ChainDefinitionError(
                f"`model` takes a LatencyModel, as LatencyModel.constant(20); got {short_repr(model)}"
            )
        if self._delays:
            raise ChainDefinitionError("`model` draws its own delays; no step uses those of .delays(...) before it")
        return self._new(last=model)

    def _step(self, after: Duration | None, value: Any, error: Error | None) -> Script:
        delays = self._delays
        if after is not None:
            delay = seconds(after, "after", zero=True)
        else:
            delay, delays = (delays[0], delays[1:]) if delays else (0.0, ())
        return self._new(steps=(*self._steps, Step(delay, value, error)), delays=delays)

    def _new(
        self,
        *,
        steps: tuple[Step, ...] | None = None,
        delays: tuple[float, ...] | None = None,
        last: Step | LatencyModel | None = None,
    ) -> Script:
        if self._last is not None:
            raise ChainDefinitionError(f"{self!r} never ends, so no step can follow")
        steps = self._steps if steps is None else steps
        new = _rebuilt(self._seed, steps, self._delays if delays is None else delays, last)
        new._family = family = self._family  # noqa: SLF001 - of the same class
        if family is not None:
            family[:] = [*(script for script in family if script is not self), new]
        return new

    # --- calls ---------------------------------------------------------------------------------------------------

    async def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Wait, then answer or fail."""
        noted, step = self._take(args, kwargs)
        try:
            if step.delay:
                await sleep_here(step.delay)
        except BaseException:
            noted.end("cancelled")
            raise
        if step.error is None:
            noted.end("succeeded")
            return step.answer()
        noted.end("failed", step.error if isinstance(step.error, type) else type(step.error))
        return _faults.fail(step.error)

    def _take(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[CallNote, Step]:
        """Record a call, and take its step."""
        where = here() or _outside()
        with self._lock:
            if self._clock[0] != where.now:
                self._clock = (where.now, where.origin)
            noted = CallNote(args, kwargs, where._replace(origin=self._clock[1]))
            step = self._next(where.task, milliseconds(max(0.0, noted.began)))
            self._calls.append(noted)
        return noted, step

    def _next(self, task: str, at: float) -> Step:
        number, last = self._taken, self._last
        if number >= len(self._steps) and last is None:
            raise ScriptEnded(self._too_many(task))
        self._taken += 1
        if number < len(self._steps):
            return self._steps[number]
        if isinstance(last, LatencyModel):
            delay, error = last.draw(self._random, at)
            return Step(delay, last.value, error)
        assert last is not None  # noqa: S101 - otherwise it has ended above
        return last

    def _too_many(self, task: str) -> str:
        have = "no step" if not self._steps else "1 step" if len(self._steps) == 1 else f"{len(self._steps)} steps"
        unused = f" (and delays that no step follows: {len(self._delays)})" if self._delays else ""
        return (
            f"the script of {task or 'a call outside of a run'} has {have}{unused}, and this is call "
            f"{self._taken + 1}: write one more .then(value) or .then_raises(error), or end with .always(value)"
        )

    # --- results -------------------------------------------------------------------------------------------------

    @property
    def calls(self) -> list[ScriptCall]:
        """Every call since it was made or ``reset``, in the order in which they began.

        Times are milliseconds since the start of the run with the first call, on the clock of that run. Of nested runs
        the outermost counts. So two scripts in one run have the same time, and later runs continue it. On another clock
        the time begins again.

        Example:
            >>> from rio_chain import Task
            >>> from rio_chain.testing import Script, ScriptCall
            >>> script = Script().always(5)
            >>> outcome = Task(script).named("number")("x").run()
            >>> [call.args for call in script.calls], script.calls[0].task
            ([('x',)], 'number')
        """
        with self._lock:
            return [noted.as_script_call() for noted in self._calls]

    @property
    def left(self) -> int:
        """How many of the written steps have not been called yet. A step that repeats for ever counts once."""
        return max(0, len(self._steps) - self._taken)

    def assert_all_used(self) -> None:
        """Fail if a step has not been called.

        Raises:
            AssertionError: steps are left. The text lists them.
        """
        if text := self._unused():
            raise AssertionError(text)

    def _unused(self) -> str:
        left = self._steps[self._taken :]
        return f"{len(left)} of {len(self._steps)} steps were not called: {''.join(map(str, left))}" if left else ""

    def reset(self) -> None:
        """Start again: with the first step, with the seed, and without calls."""
        with self._lock:
            self._calls = []
            self._taken = 0
            self._random.seed(str(self._seed))
            self._clock = (None, 0.0)

    def __repr__(self) -> str:
        delays = f".delays({', '.join(format_duration(delay)[:-3] for delay in self._delays)})" if self._delays else ""
        last = self._last
        steps = list(self._steps)
        end = ""
        if isinstance(last, Step):
            end = ".forever()" if steps[-1] == last else f".delays({format_duration(last.delay)[:-3]}).forever()"
        elif last is not None:
            end = f".model({last!r})"
        seed = f"seed={short_repr(self._seed)}" if self._seed != 0 else ""
        return f"Script({seed}){''.join(map(str, steps))}{delays}{end}"

    def __reduce__(self) -> tuple[Callable[..., Script], tuple[Any, ...]]:
        """A copy has the same steps and no calls."""
        return _rebuilt, (self._seed, self._steps, self._delays, self._last)


def _rebuilt(
    seed: int | str, steps: tuple[Step, ...], delays: tuple[float, ...], last: Step | LatencyModel | None
) -> Script:
    new = Script(seed=seed)
    new._steps, new._delays, new._last = steps, delays, last  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    return new


def _outside() -> Here:
    """The place of a call outside of any run: its time begins with the call."""
    now = runtime_here().now
    return Here("", now, now())
