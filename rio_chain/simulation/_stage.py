"""The stage of a simulation: the chain with simulated backends and new policies."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from attrs import define, field, frozen
from returns.result import Failure

from rio_chain._core.units import milliseconds, short_repr
from rio_chain.chain._compose import Composed, made
from rio_chain.chain._fresh_policies import FreshPolicies
from rio_chain.chain._functions import is_async
from rio_chain.chain._nodes import flat
from rio_chain.chain._plan import PlannedTask
from rio_chain.chain._request import Request
from rio_chain.engine._current_run import CURRENT, current_attempt
from rio_chain.errors import (
    Abandoned,
    BridgeFailed,
    CallbackFailed,
    ChainDefinitionError,
    DeadlineExceeded,
    TaskTimedOut,
    UsageError,
    describe_error,
)
from rio_chain.executors.virtual._real_io_guard import explain_real_io
from rio_chain.results._error_summary import class_of
from rio_chain.results._outcome import Outcome
from rio_chain.simulation import _faults
from rio_chain.simulation._batched_answers import answers_batch, for_each_key
from rio_chain.simulation._call_lifetime import Lasting
from rio_chain.simulation._latency_models import LatencyModel
from rio_chain.simulation._random_draws import Draws
from rio_chain.simulation._script import Script

if TYPE_CHECKING:
    from rio_chain.dsl._chain import Chain

Backend = LatencyModel | Callable[..., Any]
"""What may replace a task: a model, a ``Script``, or any function, sync or async."""


class Visit:
    """One simulated request: its number, how often it has called each task, and whether it counts."""

    __slots__ = ("calls", "counted", "jitters", "number")

    def __init__(self, number: int, tasks: int, *, counted: bool) -> None:
        self.number = number
        self.calls = [0] * tasks
        self.jitters = 0
        self.counted = counted


VISIT: ContextVar[Visit | None] = ContextVar("rio_chain_visit", default=None)


CUT = (TaskTimedOut, DeadlineExceeded, Abandoned)
"""The errors of a call that a limit cut off."""


@define
class Load:
    """The counts of a task's calls; ``busy`` in seconds."""

    name: str
    index: int
    calls: int = 0
    extra: int = 0
    failed: int = 0
    timed_out: int = 0
    busy: float = 0.0
    took: array[float] = field(factory=partial(array, "d"))

    def ended(self, seconds: float) -> None:
        """A call has ended, or was given up, after this many seconds."""
        self.busy += seconds
        self.took.append(seconds)

    def blame(self, errors: Iterable[Any]) -> None:
        """Count the errors of its attempts in one request."""
        for error in errors:
            if issubclass(class_of(error), CUT):
                self.timed_out += 1
            else:
                self.failed += 1

    def count(self, nth: int) -> None:
        """Count a call: the ``nth`` of this task in its request, from 0."""
        self.calls += 1
        if nth:
            attempt = current_attempt()
            self.extra += attempt > 1 or attempt.replica > 0


@frozen
class Stage:
    """A chain whose tasks call simulated backends, and the counts of each.

    A function that is ``.inline()`` only computes and calls no backend. It runs as it is, unless it is given a backend.
    """

    chain: Composed
    loads: tuple[Load, ...]
    mute: tuple[str, ...]
    """The tasks whose models don't say what they answer."""
    tasks: tuple[PlannedTask, ...]

    @classmethod
    def of(cls, chain: Composed, backends: Mapping[str, Backend], draws: Draws) -> Stage:
        """Make the stage.

        Raises:
            ChainDefinitionError: a backend is missing, is not of a task of the chain, or is not valid.
        """
        tasks = chain.plan().tasks
        given = backends_of(tasks, backends)
        found = list(given.values())
        for backend in found:
            if isinstance(backend, Script):
                backend.reset()  # so that every chain begins with its first step
        loads = tuple(Load(tasks[index].name, index) for index in given)
        made_up = [_stand_in(tasks[load.index], it, load, draws) for load, it in zip(loads, found, strict=True)]
        listed = answers_batch(chain.plan().root)
        for k, (load, it) in enumerate(zip(loads, found, strict=True)):
            if load.index in listed and isinstance(it, LatencyModel):
                made_up[k] = for_each_key(made_up[k])
        own: Chain[..., Any] = made(type(chain), FreshPolicies().node(flat(chain.node)), None)
        fns = {load.name: fn for load, fn in zip(loads, made_up, strict=True)}
        mute = [
            load.name
            for load, it in zip(loads, found, strict=True)
            if isinstance(it, LatencyModel) and it.value is None
        ]
        return cls(own.with_backends(fns, fresh=False) if fns else own, loads, tuple(mute), tasks)

    def misuse(self, error: Any, outcome: Outcome[Any], *, numbers: bool) -> Exception | None:
        """The error to raise if the simulation was set up wrongly; None if ``error`` is one of a backend.

        ``numbers``: no inputs were given.
        """
        if isinstance(error, UsageError):
            return error
        blamed, text = self.mute, str(error)
        at = self._failed_in_place(outcome)
        if isinstance(error, BridgeFailed) or at is not None:
            from_input = at == 0 if at is not None else error.before == "input"
            text = (
                text if at is None else f"{self.tasks[at].name}, which runs in place, failed: {describe_error(error)}"
            )
            if from_input and numbers:
                return ChainDefinitionError(f"{text}: it got 0, 1, 2, ...; give the simulation its `inputs`")
            if at is None:
                blamed = tuple(name for name in self.mute if name in error.before)
        if not blamed or (at is None and not isinstance(error, (BridgeFailed, CallbackFailed))):
            return None
        return ChainDefinitionError(
            f"{text}: a LatencyModel answers None by default; write "
            f"{{{blamed[0]!r}: LatencyModel.lognormal(20, p99=150).returning(...)}} with an answer that fits"
        )

    def _failed_in_place(self, outcome: Outcome[Any]) -> int | None:
        """The index of the task without a backend that failed, if the run failed because of it."""
        if not isinstance(outcome.result, Failure):
            return None
        own = {task.index for task in self.tasks} - {load.index for load in self.loads}
        return next((index for index in sorted(own) if outcome[index].status == "failed"), None)

    def request(self, value: Any) -> Request[Any]:
        """The chain called with an input."""
        return cast("Any", self.chain)(value)  # type: ignore[no-any-return]


def backends_of(tasks: Sequence[PlannedTask], given: Mapping[str, Backend]) -> dict[int, Backend]:
    """The backend of each task that has one, by its index. Inline functions may have one."""
    wrong: Any = given
    if not isinstance(wrong, Mapping):
        raise ChainDefinitionError(
            f"`backends` must be a dict with a backend for each task, as "
            f'{{"{tasks[0].name}": LatencyModel.lognormal(20, p99=150)}}; got {short_repr(given)}'
        )
    for name in given:
        if name not in names_of(tasks):
            have = ", ".join(task.name for task in tasks)
            raise ChainDefinitionError(
                f"`backends` names {short_repr(name)}, which is not a task of this chain; it has {have}"
            )
    found = {
        task.index: given[task.name] if task.name in given else given[task.call.name]
        for task in tasks
        if task.name in given or task.call.name in given
    }
    missing = [task.name for task in tasks if task.index not in found and not task.call.inline]
    if missing:
        raise ChainDefinitionError(
            f"`backends` must have an entry for every task; missing: {', '.join(missing)}. Give a LatencyModel, a "
            "Script or a function; a quick function that calls no backend may be given as it is, or be `.inline()`"
        )
    for index, backend in found.items():
        task, each = tasks[index], cast("Any", backend)
        if not isinstance(each, LatencyModel) and (not callable(each) or isinstance(each, (Composed, type))):
            raise ChainDefinitionError(
                f"`backends[{task.name!r}]` must be a LatencyModel, a Script or a function; got {short_repr(backend)}"
            )
    return found


def names_of(tasks: Iterable[PlannedTask]) -> set[str]:
    """The names by which a backend may be given: that of the task, and the one that several tasks share."""
    return {name for task in tasks for name in (task.name, task.call.name)}


def _stand_in(task: PlannedTask, backend: Backend, load: Load, draws: Draws) -> Callable[..., Any]:
    """A function that behaves as the backend, and is counted."""
    if isinstance(backend, LatencyModel):
        return _model(task, backend, load, draws)
    return (_async_call if is_async(backend) else _blocking_call)(task.index, backend, load)


def _entered(index: int, load: Load) -> tuple[Visit, int]:
    visit = VISIT.get()
    assert visit is not None  # noqa: S101 - every request of a simulation has one
    nth = visit.calls[index]
    visit.calls[index] = nth + 1
    if visit.counted:
        load.count(nth)
    return visit, nth


def _model(task: PlannedTask, model: LatencyModel, load: Load, draws: Draws) -> Callable[..., Any]:
    index, blocks = task.index, not (task.call.is_async or task.call.inline or task.call.lane is not None)

    async def call(*_: Any, **__: Any) -> Any:
        visit, nth = _entered(index, load)
        strand = CURRENT.get()
        assert strand is not None  # noqa: S101 - the run that calls it has one
        rt = strand.rt
        began = rt.now()
        delay, error = model.draw(draws.at(visit.number, index, nth), milliseconds(began))
        try:
            await rt.sleep(delay)
        except BaseException:
            if blocks:
                Lasting(began + delay).keep(strand.permits)
            raise
        finally:
            if visit.counted:
                load.ended(rt.now() - began)
        return model.answer() if error is None else _faults.fail(error)

    return call


def _async_call(index: int, fn: Callable[..., Any], load: Load) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        visit, _ = _entered(index, load)
        strand = CURRENT.get()
        assert strand is not None  # noqa: S101 - the run that calls it has one
        now = strand.rt.now
        began = now()
        try:
            return await fn(*args, **kwargs)
        except Exception as error:
            explain_real_io(error)
            raise
        finally:
            if visit.counted:
                load.ended(now() - began)

    return call


def _blocking_call(index: int, fn: Callable[..., Any], load: Load) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        _entered(index, load)
        return fn(*args, **kwargs)

    return call
