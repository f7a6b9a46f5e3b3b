"""Entering the policies that have a state of their own, shared with other runs.

Such a policy may let a call in, refuse it, answer in place of it, or make it wait. The waiting stands here; what is
decided, in ``policies/``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from attrs import frozen

from rio_chain.engine._blocking_call import SharedPermit
from rio_chain.engine._current_run import INF, Strand
from rio_chain.engine._expire import is_lost
from rio_chain.engine._frames import Fail, Frame, OuterExpired, Position, ask, leave_gate, push
from rio_chain.engine._instructions import FULL, Args, Op, Spread, entering
from rio_chain.engine._reports import report_asked, report_waited
from rio_chain.engine._runtime_protocol import Waiter
from rio_chain.errors import CallbackFailed
from rio_chain.policies import Policy
from rio_chain.policies._keys import Key
from rio_chain.policies._permit import Answer, Call, Clock, InjectedFault, PendingPermit, Permit
from rio_chain.policies._policy import Entered
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
    log, alone = strand.run.log, high - low == 1
    # the record of the only task; a call that is let in right away needs none
    only = record_of(log, low) if alone and log[low] is not None else None
    for k in range((len(layers) if depth == FULL else depth) - 1, -1, -1):
        layer = layers[k]
        got: Permit | Hit | Entered = None
        if isinstance(layer, Policy) and layer.asked:
            quick = layer.key is None and layer.held == "run" and not (layer.users_code or strand.observed)
            if quick:
                got = layer.enter(Call(clock=strand.rt.now, priority=strand.run.urgency()))
            if not quick or not isinstance(got, Permit):
                if alone:
                    only = record_of(log, low)
                    only.status = "running"  # its turn has come, even if it is only to wait
                strand.deadline = frames[-1].deadline if frames else strand.parent_deadline
                strand.slot.arm(strand.deadline)
                try:
                    if quick:
                        got = await _answered(strand, layer, got)
                    else:
                        used = tuple([strand.kept[place] for place in outside])
                        got = await _enter_policy(strand, layer, value, used, low if alone else None)
                except Exception as exc:
                    if only is not None:
                        only.failed(exc.error if isinstance(exc, Fail) else exc)
                    raise
                if isinstance(got, Hit):
                    return got
        frame = push(frames, strand.parent_deadline, strand.rt.now(), op, (place[0], k, value))
        frame.permit = got
    if only is not None:
        only.status = None
    return None


# --- asking ------------------------------------------------------------------------------------------------------


async def _enter_policy(
    strand: Strand, policy: Policy, value: Any, used: Used, index: int | None
) -> Permit | Hit | None:
    """Ask one policy, and wait if it says so."""
    key = (
        None
        if policy.key is None
        else await _key(strand, policy.key, value, used if used and policy.facts().shares else ())
    )
    call = Call(key=key, clock=strand.rt.now, priority=strand.run.urgency())
    got: Entered
    if policy.users_code:
        got = await ask(strand, policy.builder_call, policy.enter, call)
    else:
        got = policy.enter(call)
    if isinstance(got, InjectedFault):
        await _hold_up(strand, got)
        return None
    let_in = _observed_let_in(strand, policy, got, index) if strand.observed else _let_in(strand, policy, got)
    return _held(strand, policy, await let_in)


async def _answered(strand: Strand, policy: Policy, got: Entered) -> Permit | Hit | None:
    """What a policy that is no user's, and that nobody observes, has answered."""
    if isinstance(got, InjectedFault):
        await _hold_up(strand, got)
        return None
    return await _let_in(strand, policy, got)


async def _hold_up(strand: Strand, fault: InjectedFault) -> None:
    if fault.delay > 0:
        await strand.rt.sleep(fault.delay)
    if fault.error is not None:
        raise Fail(fault.error)


def _held(strand: Strand, policy: Policy, got: Permit | Hit) -> Permit | Hit:
    """The permit, held for as long as the policy says."""
    if isinstance(got, Hit) or policy.held == "run" or (policy.held == "race" and strand.contender is None):
        return got
    permit = SharedPermit(got, strand.contender)
    if policy.held == "calls":
        strand.permits = (*(permit for permit in strand.permits if permit.open), permit)
    return permit


# --- waiting -----------------------------------------------------------------------------------------------------


async def _key(strand: Strand, key: Callable[..., Any], value: Any, used: Used = ()) -> Any:
    """What a value is filed under. Where the user gave no function for that, what is used from elsewhere counts."""
    if used and isinstance(key, Key) and key.fn is None:
        value = Args((*value.args, *used), value.kwargs) if type(value) is Args else Args((value, *used), {})
    return await ask(strand, "key", Spread(key) if type(value) is Args else key, value)


async def _let_in(strand: Strand, policy: Policy, got: Permit | PendingPermit | Answer | Exception) -> Permit | Hit:
    if isinstance(got, PendingPermit):
        got = await _granted(strand, policy, got)
    if isinstance(got, Exception):
        raise Fail(got)
    if not isinstance(got, Answer):
        return got
    if got.failed:
        raise Fail(got.value)
    return Hit(got.value)


async def _observed_let_in(strand: Strand, policy: Policy, got: Any, index: int | None) -> Permit | Hit:
    run, now = strand.run, strand.rt.now
    report_asked(run, policy, got, index)
    if not isinstance(got, PendingPermit):
        return await _let_in(strand, policy, got)
    began = now()
    try:
        let_in = await _let_in(strand, policy, got)
    except Fail as refusal:
        report_waited(run, policy, index, now() - began, refusal.error)
        raise
    report_waited(run, policy, index, now() - began)
    return let_in


async def _granted(strand: Strand, policy: Policy, pending: PendingPermit) -> Permit | Answer:
    """Wait in a policy's line for as long as the limits around allow."""
    rt = strand.rt
    try:
        while pending.state == "waiting":
            waiter = rt.waiter()
            pending.wake = waiter.wake  # ``tell`` wakes us from here on; one that came earlier has changed the state
            if pending.state == "waiting":
                await wait_at_most(strand, waiter, pending.after)
            _ask_again(policy, pending, rt.now)
    except BaseException:
        leave_gate(pending.quit)
        raise
    got = cast("object", pending.permit if pending.state == "granted" else pending.answer)
    if not isinstance(got, (Permit, Answer)):
        error = RuntimeError(f"a PendingPermit became {pending.state!r} without a permit and without an answer")
        raise CallbackFailed(policy.builder_call, type(pending).__name__, error)
    return got


def _ask_again(policy: Policy, pending: PendingPermit, clock: Clock) -> None:
    try:
        pending.ask(clock)
    except Exception as exc:
        if not policy.users_code:
            raise
        raise CallbackFailed(policy.builder_call, "ask", exc) from None


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
    if interrupted and (strand.rt.now() < until or strand.run.stop_error is not None or is_lost(strand)):
        raise OuterExpired  # that was not our alarm: the run was stopped
    slot.arm(strand.deadline)
