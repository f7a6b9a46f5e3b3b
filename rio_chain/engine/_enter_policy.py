"""Entering the policies that have a state of their own, shared with other runs.

Such a policy may let a call in, refuse it, answer in place of it, or make it wait. The waiting is done here; the
decision is made in ``policies/``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from attrs import frozen

from rio_chain.engine._ask import ask
from rio_chain.engine._blocking_call import SharedPermit
from rio_chain.engine._current_run import INF, Strand
from rio_chain.engine._expire import is_lost
from rio_chain.engine._frames import Fail, Frame, OuterExpired, Position, leave_gate
from rio_chain.engine._instructions import ADMIT, FULL, Args, Op, Spread, entering
from rio_chain.engine._refresh import Behind, refresh
from rio_chain.engine._reports import report_asked, report_waited
from rio_chain.engine._runtime_protocol import Waiter
from rio_chain.errors import CallbackFailed
from rio_chain.policies import Policy
from rio_chain.policies._keys import Key
from rio_chain.policies._permit import Answer, Call, Clock, InjectedFault, PendingPermit, Permit, StaleAnswer
from rio_chain.policies._policy import Entered
from rio_chain.results._task_record import close, record_of

MakeBehind = Callable[[tuple[Op, ...], int, int, Any], Behind]
"""``Behind`` with the function that runs it."""
Used = tuple[Any, ...]
"""Values of tasks outside that the tasks inside get by ``.using``."""


@frozen
class Hit:
    """A policy has answered in place of the part inside it. ``refresh``: the permit of a call in the background."""

    value: Any
    refresh: Permit | None = None


def enter_at_once(strand: Strand, frames: list[Frame], op: Op, place: Position) -> tuple[int, Entered | None]:
    """Enter the layers of an ADMIT, the outermost first, up to one that does not let the call in right away.

    Returns the number of that layer, and its answer; None: it was not asked yet. -1: all layers were entered.
    """
    pc, depth, value = place
    _, layers, low, high, _, _, shared = op
    deadline = frames[-1].deadline if frames else strand.parent_deadline
    now = strand.rt.now
    for k in range((len(layers) if depth == FULL else depth) - 1, -1, -1):
        layer = layers[k]
        permit: Permit | None = None
        if isinstance(layer, Policy) and layer.asked:
            if layer.key is not None or layer.held != "run" or layer.users_code or strand.observed:
                return k, None  # a limit is held for its calls, so its cost is asked there
            got = layer.enter(Call(clock=now, priority=strand.run.urgency()))
            if not isinstance(got, Permit):
                return k, got
            permit = got
        frame = Frame(layer, (pc, k, value), low, high, k <= shared, now(), deadline)
        frame.permit = permit
        deadline = frame.deadline
        frames.append(frame)
    if high - low == 1 and strand.run.log[low] is not None:
        record_of(strand.run.log, low).status = None  # an earlier attempt has waited
    return -1, None


async def _enter_policies(  # noqa: PLR0917
    strand: Strand,
    frames: list[Frame],
    op: Op,
    place: Position,
    stuck: int,
    got: Entered | None,
    behind: MakeBehind,
    ops: tuple[Op, ...],
) -> Hit | None:
    """Enter the remaining layers, from ``stuck`` on."""
    pc, _, value = place
    _, layers, low, high, _, outside, shared = entering(op)
    alone = high - low == 1
    while stuck >= 0:
        layer = cast("Policy", layers[stuck])
        strand.deadline = deadline = frames[-1].deadline if frames else strand.parent_deadline
        strand.slot.arm(deadline)
        if alone:
            record_of(strand.run.log, low).status = "running"  # its turn has come, even if it only waits
        try:
            if got is not None:
                permit = await _answered(strand, layer, got)
            else:
                used = tuple([strand.kept[place] for place in outside])
                permit = await _enter_policy(strand, layer, value, used, low if alone else None)
        except Exception as exc:
            if alone:
                record_of(strand.run.log, low).failed(exc.error if isinstance(exc, Fail) else exc)
            raise
        if isinstance(permit, Hit):
            if permit.refresh is not None:
                refresh(strand, layer, permit.refresh, behind(ops, pc, stuck, value))
            return permit
        frame = Frame(layer, (pc, stuck, value), low, high, stuck <= shared, strand.rt.now(), deadline)
        frame.permitted(permit)
        frames.append(frame)
        stuck, got = enter_at_once(strand, frames, op, (pc, stuck, value))
    return None


async def admitted(  # noqa: PLR0917
    strand: Strand,
    op: Op,
    place: Position,
    frames: list[Frame],
    stuck: int,
    got: Entered | None,
    behind: MakeBehind,
    ops: tuple[Op, ...],
) -> tuple[int, Any]:
    """Go on at the layer where ``enter_at_once`` stopped. Returns where the walk goes on, and the value.

    If one of the policies has an answer, the part inside it is not called. ``behind``: makes the part inside a layer.
    """
    hit = await _enter_policies(strand, frames, op, place, stuck, got, behind, ops)
    if hit is None:
        return place[0] + 1, place[2]
    _, _, low, high, leave_at, _, _ = entering(op)
    if high - low == 1:
        record_of(strand.run.log, low).succeeded(hit.value)
    else:
        close(strand.run.log, low, high, None)
    return leave_at, hit.value


# --- asking ------------------------------------------------------------------------------------------------------


async def _enter_policy(
    strand: Strand, policy: Policy, value: Any, used: Used, index: int | None
) -> Permit | Hit | None:
    """Ask one policy, and wait if it says so."""
    if policy.cost is not None or policy.members:
        call = await _call(strand, policy, value, used)
    else:  # as in ``_call``, but without another coroutine for most policies
        key = None
        if policy.key is not None:
            key = await _key(strand, policy, value, used if used and policy.facts().shares else ())
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


async def _call(strand: Strand, policy: Policy, value: Any, used: Used) -> Call:
    """What the policy gets to know of the call."""
    key: Any = None
    if policy.key is not None:
        key = await _key(strand, policy, value, used if used and policy.facts().shares else ())
    elif policy.members:
        key = tuple([await _call(strand, member, value, used) for member in policy.members])
    if policy.cost is None:
        return Call(key=key, clock=strand.rt.now, priority=strand.run.urgency())
    cost = await ask(strand, "cost", Spread(policy.cost) if type(value) is Args else policy.cost, value)
    return Call(key=key, clock=strand.rt.now, priority=strand.run.urgency(), cost=cost)


async def _answered(strand: Strand, policy: Policy, got: Entered) -> Permit | Hit | None:
    """Follow the answer of a policy that runs no user code, in a run without observers."""
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
    """The permit, kept for as long as the policy says."""
    if isinstance(got, Hit) or policy.held == "run" or (policy.held == "race" and strand.contender is None):
        return got
    permit = SharedPermit(got, strand.contender)
    if policy.held == "calls":
        strand.permits = (*(permit for permit in strand.permits if permit.open), permit)
    return permit


# --- waiting -----------------------------------------------------------------------------------------------------


async def _key(strand: Strand, policy: Policy, value: Any, used: Used = ()) -> Any:
    """The key of a value. If the user gave no key function, the values used from outside are part of it."""
    key = policy.key
    if used and isinstance(key, Key) and key.fn is None:
        value = Args((*value.args, *used), value.kwargs) if type(value) is Args else Args((value, *used), {})
    return await ask(strand, policy.key_role, Spread(key) if type(value) is Args else key, value)


async def _let_in(strand: Strand, policy: Policy, got: Permit | PendingPermit | Answer | Exception) -> Permit | Hit:
    if isinstance(got, PendingPermit):
        got = await _granted(strand, policy, got)
    if isinstance(got, Exception):
        raise Fail(got)
    if not isinstance(got, Answer):
        return got
    if got.failed:
        raise Fail(got.value)
    return Hit(got.value, got.refresh if isinstance(got, StaleAnswer) else None)


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
    """Wait in the queue of a policy, until a timeout around it expires."""
    rt = strand.rt
    try:
        while pending.state == "waiting":
            waiter = rt.waiter()
            pending.wake = waiter.wake  # ``tell`` wakes us from here on; an earlier ``tell`` has changed the state
            if pending.state == "waiting":
                await wait_at_most(strand, waiter, pending.after)
            _ask_again(policy, pending, rt.now)
        if pending.state == "granted" and strand.contender is not None:
            strand.contender.go_on(ADMIT)  # trio resumes a strand that lost its race at the instant of the wake
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
    """Wait until woken, but at most this number of seconds."""
    until = INF if seconds is None else strand.rt.now() + seconds
    if until >= strand.deadline:
        await waiter.wait()
        return
    slot = strand.slot
    try:
        slot.arm(until)
        await waiter.wait()
        interrupted = slot.settle(None)  # the alarm may fire at the same moment as the wake
    except BaseException as exc:
        if not slot.settle(exc):
            raise
        interrupted = True
    if interrupted and (strand.rt.now() < until or strand.run.stop_error is not None or is_lost(strand)):
        raise OuterExpired  # another alarm: the run was stopped
    slot.arm(strand.deadline)
