"""Entering the policies that have a state of their own, shared with other runs.

Such a policy may let a call in, refuse it, answer in place of it, or make it wait. The waiting stands here; what is
decided, in ``policies/``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, cast

from attrs import frozen

from rio_chain._core.units import short_repr
from rio_chain.engine._blocking_call import SharedPermit
from rio_chain.engine._current_run import INF, Strand
from rio_chain.engine._frames import Fail, Frame, OuterExpired, Position, ask, leave_gate, push
from rio_chain.engine._instructions import FULL, Args, Op, Spread, entering
from rio_chain.engine._runtime_protocol import Waiter
from rio_chain.errors import CallbackFailed
from rio_chain.policies import Breaker, Budget, Cache, Chaos, Gate, Limit, SingleFlight
from rio_chain.policies._keys import Key
from rio_chain.policies._permit import Answer, Call, PendingPermit, Permit
from rio_chain.results._task_record import record_of

Used = tuple[Any, ...]
"""What the tasks inside get by ``.using`` from tasks outside."""


@frozen
class Hit:
    """A policy answered in place of what it wraps."""

    value: Any


async def enter_policies(strand: Strand, frames: list[Frame], op: Op, place: Position) -> Hit | None:
    """Enter the layers of an ENTER, the outermost first; those that have to be asked are asked one after the other."""
    _, depth, value = place
    _, layers, low, high, _, outside, _ = entering(op)
    used = tuple(strand.kept[place] for place in outside)
    only = record_of(strand.run.log, low) if high - low == 1 else None
    for k in reversed(range(len(layers) if depth == FULL else depth)):
        enter = _asked(type(cast("object", layers[k])))
        if only is not None:
            only.status = "running"  # its turn has come, even if it is only to wait
        try:
            got = None if enter is None else await enter(strand, layers[k], value, used)
        except Exception as exc:
            if only is not None:
                only.failed(exc.error if isinstance(exc, Fail) else exc)
            raise
        if type(got) is Hit:
            return got
        frame = push(frames, strand.parent_deadline, strand.rt.now(), op, (place[0], k, value))
        frame.permit = got
        strand.deadline = frame.deadline
        strand.slot.arm(frame.deadline)
    if only is not None:
        only.status = None
    return None


# --- one for each policy ------------------------------------------------------------------------------------------


async def _breaker(strand: Strand, breaker: Breaker, *_: Any) -> Permit | Hit:
    return await _let_in(strand, breaker.enter(_call(strand)))


async def _budget(_strand: Strand, budget: Budget, *_: Any) -> Permit:
    return budget.execution()


async def _limit(strand: Strand, limit: Limit, value: Any, _: Used) -> Permit | Hit:
    key = None if limit.key is None else await _key(strand, limit.key, value)
    return _until_calls_end(strand, await _let_in(strand, limit.enter(_call(strand, key))))


async def _gate(strand: Strand, gate: Gate, value: Any, _: Used) -> Permit | Hit:
    key = None if gate.key is None else await _key(strand, gate.key, value)
    got = await ask(strand, "limit", gate.enter, _call(strand, key))
    if not isinstance(got, (Permit, PendingPermit, Exception)):
        rule = (
            f"`{type(gate).__name__}.enter` must return a Permit, a PendingPermit "
            f"or an exception; got {short_repr(got)}"
        )
        raise CallbackFailed("limit", "enter", TypeError(rule))
    return _until_calls_end(strand, await _let_in(strand, got))


def _until_calls_end(strand: Strand, got: Permit | Hit) -> Permit | Hit:
    """A place that blocking calls inside keep until they end, also when they are abandoned."""
    if isinstance(got, Hit):
        return got
    permit = SharedPermit(got, strand.contender)
    strand.permits = (*(permit for permit in strand.permits if permit.open), permit)
    return permit


async def _flights(strand: Strand, flights: SingleFlight, value: Any, used: Used) -> Permit | Hit:
    key = await _key(strand, flights.key, value, used)
    got = await _let_in(strand, flights.enter(_call(strand, key)))
    return got if strand.contender is None or isinstance(got, Hit) else SharedPermit(got, strand.contender)


async def _cache(strand: Strand, cache: Cache, value: Any, used: Used) -> Permit | Hit:
    key, now = await _key(strand, cache.key, value, used), strand.rt.now
    found = cache.get(key, now)
    return Hit(found.value) if found.hit else _Keep(cache, key, now)


@frozen
class _Keep(Permit):
    """Puts the answer into the cache when it comes."""

    cache: Cache
    key: Hashable
    clock: Callable[[], float]

    def succeeded(self, value: Any) -> None:
        self.cache.put(self.key, value, self.clock)

    def failed(self, error: Any) -> None:
        """Errors are not kept."""

    def dropped(self) -> None:
        """Nothing is kept."""


async def _chaos(strand: Strand, chaos: Chaos, *_: Any) -> None:
    fault = chaos.next()
    if fault.delay > 0:
        await strand.rt.sleep(fault.delay)
    if fault.error is not None:
        raise Fail(fault.error)


_ASKED: dict[type, Callable[[Strand, Any, Any, Used], Awaitable[Any]]] = {
    Breaker: _breaker,
    Budget: _budget,
    Cache: _cache,
    Chaos: _chaos,
    SingleFlight: _flights,
    Gate: _gate,
    Limit: _limit,
}


def _asked(kind: type) -> Callable[[Strand, Any, Any, Used], Awaitable[Any]] | None:
    """How to ask a policy of this type, which may be a subclass of ours; None: it has to be entered and no more."""
    return next((ask_it for ours, ask_it in _ASKED.items() if issubclass(kind, ours)), None)


def _call(strand: Strand, key: Hashable = None) -> Call:
    """What a policy is asked about."""
    return Call(key=key, clock=strand.rt.now, priority=strand.run.urgency())


# --- waiting -----------------------------------------------------------------------------------------------------


async def _key(strand: Strand, key: Callable[..., Any], value: Any, used: Used = ()) -> Any:
    """What a value is filed under. Where the user gave no function for that, what is used from elsewhere counts."""
    if used and isinstance(key, Key) and key.fn is None:
        value = Args((*value.args, *used), value.kwargs) if type(value) is Args else Args((value, *used), {})
    return await ask(strand, "key", Spread(key) if type(value) is Args else key, value)


async def _let_in(strand: Strand, got: Permit | PendingPermit | Answer | Exception) -> Permit | Hit:
    if isinstance(got, PendingPermit):
        got = await _granted(strand, got)
    if isinstance(got, Exception):
        raise Fail(got)
    if not isinstance(got, Answer):
        return got
    if got.failed:
        raise Fail(got.value)
    return Hit(got.value)


async def _granted(strand: Strand, pending: PendingPermit) -> Permit | Answer:
    """Wait in a policy's line for as long as the limits around allow."""
    rt = strand.rt
    try:
        while pending.state == "waiting":
            waiter = rt.waiter()
            pending.wake = waiter.wake  # ``tell`` wakes us from here on; one that came earlier has changed the state
            if pending.state == "waiting":
                await wait_at_most(strand, waiter, pending.after)
            pending.ask(rt.now)
    except BaseException:
        leave_gate(pending.quit)
        raise
    got = pending.permit if pending.state == "granted" else pending.answer
    if got is None:
        raise RuntimeError(f"a PendingPermit became {pending.state!r} without a permit and without an answer")
    return got


async def wait_at_most(strand: Strand, waiter: Waiter, seconds: float | None) -> None:
    """Wait until woken, but at most so many seconds."""
    until = INF if seconds is None else strand.rt.now() + seconds
    if until >= strand.deadline:
        await waiter.wait()
        return
    slot = strand.slot
    try:
        slot.arm(until)
        await waiter.wait()
        interrupted = slot.settle(None)  # the alarm may go off in the moment in which we are woken
    except BaseException as exc:
        if not slot.settle(exc):
            raise
        interrupted = True
    if interrupted and (strand.rt.now() < until or strand.run.stop_error is not None):
        raise OuterExpired  # that was not our alarm: the run was stopped
    slot.arm(strand.deadline)
