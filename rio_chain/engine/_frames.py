"""Runs the policies. A *frame* is a policy that has been entered and not left; the frames of a walk form a stack.

This module has, once for every executor, what a policy does when its inner part has failed, answered or run out of
time. The decisions are computed in ``policies/``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from attrs import evolve

from rio_chain._core.unhandled_errors import report_unhandled
from rio_chain._core.units import milliseconds
from rio_chain.chain._plan import Plan
from rio_chain.engine._ask import ask, predicate_holds
from rio_chain.engine._current_run import RETRIES_WAIT, Strand
from rio_chain.engine._instructions import FULL, TASK, Args, Branch, Fallback, Layer, Op
from rio_chain.engine._journal import journal_for
from rio_chain.engine._refused_answers import close_refused, give_up_refused
from rio_chain.engine._reports import report_budget_denied, report_retry_gave_up, report_retry_waits
from rio_chain.errors import TaskTimedOut
from rio_chain.policies import Budget, Retry, Timeout, Wait
from rio_chain.policies._backoff import NOTHING, FailedAttempt, RetryState
from rio_chain.policies._match_errors import matches
from rio_chain.policies._permit import AskingPermit, Permit
from rio_chain.policies._timeout import TimedPermit
from rio_chain.results._outcome import Failed
from rio_chain.results._task_record import GaveUp, close, fell_back, new_round, record_of

INF = float("inf")
Position = tuple[int, int, Any]
"""Where a walk goes on: the instruction, the number of its layers to enter, and the input."""


RunPart = Callable[[Strand, Branch, Any], Awaitable[Any]]
"""Runs a branch on a strand made for it, with that input. Returns its value, or ``Failed``."""


class Fail(Exception):
    """A failure that was not raised by a function, on its way to the frames."""

    def __init__(self, error: Any) -> None:
        self.error = error


def reported(exc: BaseException) -> Any:
    """The error inside a ``Fail``, or the exception itself."""
    return exc.error if isinstance(exc, Fail) else exc


class NestedFail(Fail):
    """The failure of a Request or a branch. It is reported as it is, even if a bridge gave it."""


class LimitPassed(Exception):
    """An answer came after its deadline, or the deadline had passed before the call."""


RACE_LOST: Any = object()
"""The error of a call that was interrupted because another call of its race has won."""


class OuterExpired(BaseException):
    """An enclosing deadline passed. Unwind silently to the walk that owns it."""


def leave_gate(leave: Callable[[], None]) -> None:
    """Leave a user's gate, as a call is given up. An error in that is reported: the run ends for another reason."""
    try:
        leave()
    except Exception as error:  # noqa: BLE001 - a Gate may be a client of any service
        report_unhandled(error)


class Frame:
    """One entered policy: where it was entered, around which tasks, and the earliest deadline in it."""

    __slots__ = (
        "alone",
        "deadline",
        "delays",
        "entered",
        "extra",
        "high",
        "layer",
        "low",
        "permit",
        "place",
        "retries",
        "until"
    )  # fmt: skip

    races = False
    """Whether calls of the inner part may run at once: then the frame is a ``RaceFrame``."""

    @property
    def lost(self) -> bool:
        """Whether it is the frame of a race that has interrupted the call in this strand, as it is not needed."""
        return False

    @property
    def decided(self) -> bool:
        """Whether it is the frame of a race that needs no further answer."""
        return False

    def __init__(  # noqa: PLR0917 - one is made for each policy of a run
        self,
        layer: Layer,
        place: Position,
        low: int,
        high: int,
        alone: bool,  # noqa: FBT001
        entered: float,
        deadline: float,
    ) -> None:
        self.layer = layer
        self.place = place  # where the inner part begins
        self.alone = alone  # no cache or other call may hold the answers of the inner part
        self.low = low
        self.high = high
        self.entered = entered
        self.until = INF
        self.deadline = deadline
        if type(layer) is Timeout:
            self.until = until = entered + layer.seconds
            if until < deadline:
                self.deadline = until
        self.retries = 0
        self.delays: list[float] = []  # the waits between its attempts
        self.permit: Permit | None = None  # from a policy with a state of its own, when it let this run in
        self.extra: Permit | None = None  # from the budget, for the retry that runs

    def over(self, now: float, value: Any) -> bool:
        """As ``RaceFrame.over``; other frames never get this call."""
        raise NotImplementedError

    async def answered(self, frames: list[Frame], value: Any) -> Position:
        """As ``RaceFrame.answered``; other frames never get this call."""
        raise NotImplementedError

    async def failed(self, frames: list[Frame], error: Any) -> tuple[Position | None, Any]:
        """As ``RaceFrame.failed``; other frames never get this call."""
        raise NotImplementedError

    def drop(self) -> None:
        """Leave the frame without an answer, and without a failure of the inner part."""
        self.returned()
        if self.permit is not None:
            permit, self.permit = self.permit, None
            leave_gate(permit.dropped)

    def returned(self) -> None:
        """The retry that the budget allowed is over."""
        if self.extra is not None:
            extra, self.extra = self.extra, None
            extra.dropped()

    def name(self, plan: Plan) -> str:
        """The name of the task, or of the part of the chain, that the policy is around."""
        first, last = plan.tasks[self.low].name, plan.tasks[self.high - 1].name
        if self.high - self.low == 1:
            return first
        return plan.title if self.high - self.low == len(plan.tasks) else f"{first} .. {last}"

    def expired(self, plan: Plan) -> Exception:
        """The error when its time has run out. Only a timeout has one."""
        allowed = self.layer.seconds if isinstance(self.layer, Timeout) else round(self.until - self.entered, 9)
        return TaskTimedOut(self.name(plan), milliseconds(allowed if allowed < INF else 0))

    def permitted(self, permit: Permit | None) -> None:
        """Its policy has let the call in."""
        self.permit = permit
        if isinstance(permit, TimedPermit):
            self.until = self.entered + permit.seconds
            self.deadline = min(self.deadline, self.until)


def enter(frames: list[Frame], parent_deadline: float, entered: float, op: Op, place: Position) -> None:
    """Enter the layers of a TASK or ENTER, the outermost first, all at the instant ``entered``."""
    pc, depth, value = place
    if op[0] == TASK:
        layers, low = op[5], op[3]
        high, shared = low + 1, len(layers)
    else:
        _, layers, low, high, _, _, shared = op
    deadline = frames[-1].deadline if frames else parent_deadline
    for k in range((len(layers) if depth == FULL else depth) - 1, -1, -1):
        frame = Frame(layers[k], (pc, k, value), low, high, k <= shared, entered, deadline)
        deadline = frame.deadline
        frames.append(frame)


def around_one_task(frames: list[Frame]) -> bool:
    """Whether the innermost policy is around one task alone. Then the end of that task is not reported yet."""
    return bool(frames) and frames[-1].high - frames[-1].low == 1


async def unwind(strand: Strand, frames: list[Frame], problem: Failed) -> Position | None:
    """Pass the error up through the frames until one handles it. Returns where to go on, or None if the walk failed."""
    try:
        return await _taken(strand, frames, problem)
    except BaseException:
        if frames and (frames[-1].alone or frames[-1].races):
            give_up_refused(strand, problem.error)  # another error replaces it
        raise


async def _taken(strand: Strand, frames: list[Frame], problem: Failed) -> Position | None:
    error = problem.error
    if frames and error is not RACE_LOST:
        await _sleep(strand, frames[-1], 0)  # raises a cancellation which the body has answered with an error
    while frames:
        frame = frames[-1]
        if frame.races:
            place, problem.error = await frame.failed(frames, error)
            return place or await _taken(strand, frames, problem)  # with the error of the race
        layer = frame.layer
        frame.returned()
        if not around_one_task(frames):
            strand.run.given_up(frame.low, frame.high)
        if type(layer) is Retry and await _begins_again(strand, frames, layer, error):
            return frame.place
        if type(layer) is Fallback and await _caught(strand, layer, error):
            frames.pop()
            close(strand.run.log, frame.low, frame.high, error)
            fell_back(strand.run.log, frame.low, frame.high, layer.number)
            if not around_one_task(frames):
                strand.run.given_up(frame.low, frame.high)
            if frame.alone and not layer.error:
                await close_refused(strand, error)
            return layer.handler, FULL, layer.given(error, frame.place[2])
        if frame.permit is not None:
            await _permit_failed(strand, frame, error)  # its error is one of this frame, so it is not left before
        frames.pop()
    return None


async def _permit_failed(strand: Strand, frame: Frame, error: Any) -> None:
    """End the permit of a frame with a failure. If it has questions, functions of the user answer them."""
    permit, frame.permit = frame.permit, None
    if not isinstance(permit, AskingPermit):
        if permit is not None:
            permit.failed(error)
        return
    strand.deadline = frame.deadline  # a limit inside of the frame counts no longer
    strand.slot.arm(frame.deadline)
    steps = permit.questions(error)
    try:
        question = next(steps)
        while True:
            role, fn, args, truth = question
            question = steps.send(await ask(strand, role, fn, *args, truth=truth))
    except StopIteration:
        pass
    finally:
        steps.close()


async def _begins_again(strand: Strand, frames: list[Frame], layer: Retry, error: Any) -> bool:
    """Whether the retry makes another attempt. It is due when this returns. If not, the reason is recorded."""
    frame, log = frames[-1], strand.run.log
    reason = await _not_wanted(strand, layer, frame, error)
    if reason is None:
        strand.pay()
        reason = await _no_new_attempt(strand, frames, layer, error)
    if reason is None:
        frame.retries += 1
        journal = journal_for(strand)
        if journal is not None:
            journal.new_round(strand.run, *frame.place[:2], frame.retries)
        new_round(log, frame.low, frame.high)
        if frame.high - frame.low == 1:
            record_of(log, frame.low).status = "running"  # a timeout that has expired meanwhile ends the task
        return True
    if frame.high - frame.low == 1 and record_of(log, frame.low).status == "running":
        record_of(log, frame.low).status = None  # a bridge before the task has failed, so this attempt did not reach it
    for index in range(frame.low, frame.high):
        if log[index] is not None:
            record_of(log, index).retry_gave_up(reason)
    report_retry_gave_up(strand.run, frame, reason)
    return False


async def _no_new_attempt(strand: Strand, frames: list[Frame], layer: Retry, error: Any) -> GaveUp | None:
    """Wait as the backoff says, then ask the budget. Returns why there is no new attempt, or None if there is one."""
    frame, budget = frames[-1], budget_of(strand, frames)
    if budget is not None:
        first_over(frames, budget)
    delay = await _delay_or_end(strand, layer, frame, error)
    if isinstance(delay, str):
        return delay
    frame.delays.append(delay)
    report_retry_waits(strand.run, frame, delay, error)
    alone = record_of(strand.run.log, frame.low) if frame.high - frame.low == 1 else None
    status = None if alone is None else alone.status
    if alone is not None:
        alone.status = "running"  # a task that waits for its retry has not ended
    if frame.alone and budget is None:
        await close_refused(strand, error)
    await _sleep(strand, frame, delay)
    if budget is None:
        return None
    frame.extra = budget.extra(clock=strand.rt.now)  # not before the wait, which must not use up the budget of others
    if frame.extra is not None:
        if frame.alone:  # not before this: if the budget denies the retry, the user gets the refused answer
            await close_refused(strand, error)
        return None
    if alone is not None:
        alone.status = status
    for index in range(frame.low, frame.high):
        record_of(strand.run.log, index).denied += 1
    report_budget_denied(strand.run, frame, budget)
    return "budget"


def first_over(frames: Sequence[Frame], budget: Budget) -> None:
    """The first attempt under this budget is over. Later attempts are extra, and extra attempts must not add to it."""
    for around in frames:
        if around.layer is budget and around.permit is not None:
            around.permit.dropped()
            around.permit = None


def budget_of(strand: Strand, frames: Sequence[Frame]) -> Budget | None:
    """The innermost budget, which retries and hedges here have to ask."""
    return next((f.layer for f in reversed(frames) if isinstance(f.layer, Budget)), strand.budget)


async def _caught(strand: Strand, layer: Fallback, error: Any) -> bool:
    found = matches(layer.on, error)
    return await predicate_holds(strand, "on", layer.on, error) if found is None else found


def drop(frames: list[Frame]) -> None:
    """Leave all frames, the innermost first, because the walk itself ends."""
    while frames:
        frames.pop().drop()


async def _not_wanted(strand: Strand, layer: Retry, frame: Frame, error: Any) -> GaveUp | None:
    """The reason why there is no retry after this error. None if a retry is possible."""
    if not layer.left(frame.retries):
        return "exhausted"
    matches = layer.matches(error)
    if matches is None:
        matches = await predicate_holds(strand, "on", layer.on, error)  # type: ignore[arg-type]  # `on` is a predicate
    return None if matches else "not_retried"


async def _delay_or_end(strand: Strand, layer: Retry, frame: Frame, error: Any) -> float | GaveUp:
    """How long to wait before the next attempt, or why there is none."""
    state = _state(strand, frame, error)
    delay = await _delay(strand, layer, frame, state)
    stop = layer.stop
    if stop is not None and await predicate_holds(strand, "stop", stop, evolve(state, upcoming_sleep=delay)):
        return "stopped"
    return "no_time" if strand.rt.now() + delay >= frame.deadline else delay


def _state(strand: Strand, frame: Frame, error: Any) -> RetryState:
    """What waits and stops of the user may read."""
    given, elapsed, idle = frame.place[2], strand.rt.now() - frame.entered, sum(frame.delays)
    args, kwargs = (given.args, given.kwargs) if type(given) is Args else ((given,), NOTHING)
    return RetryState(frame.retries + 1, FailedAttempt(error), elapsed, idle, args=args, kwargs=kwargs)


async def _delay(strand: Strand, layer: Retry, frame: Frame, state: RetryState) -> float:
    """Seconds to wait before the next attempt. Functions of the user are called as such, by ``ask``."""
    if not RETRIES_WAIT.get():
        return 0.0
    asks, error = layer.retry_after, state.outcome.error
    given: dict[str, Any] = {} if asks is None else {"retry_after": await ask(strand, "retry_after", asks, error)}
    previous = frame.delays[-1] if frame.delays else None
    delay = partial(layer.delay, frame.retries, error, previous, draw=strand.rt.draw, **given)
    if isinstance(layer.waits(error), Wait):
        seen = {"elapsed": state.seconds_since_start, "idle": state.idle_for}
        return float(await ask(strand, "backoff", partial(delay, **seen, args=state.args, kwargs=state.kwargs)))
    return delay()


async def _sleep(strand: Strand, frame: Frame, delay: float) -> None:
    strand.deadline = frame.deadline
    strand.slot.arm(frame.deadline)
    await strand.rt.sleep(delay)
