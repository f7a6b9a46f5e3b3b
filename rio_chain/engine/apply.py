"""Policies put to work. A *frame* is a policy that has been entered and not left; the frames of a walk form a stack.

Here stands, once for every executor, what a policy does when what it wraps has failed, answered or run out of time.
What it decides is computed in ``policies/``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rio_chain.engine.current import Strand
from rio_chain.engine.program import FULL, TASK, Fallback, Layer, Op
from rio_chain.engine.runtime import Raised
from rio_chain.errors import CallbackFailed, NotAccepted, TaskTimedOut
from rio_chain.outcome import close, entry_of, new_round, note_failure
from rio_chain.plan import Plan
from rio_chain.policies import Retry, Timeout
from rio_chain.units import milliseconds

INF = float("inf")
Place = tuple[int, int, Any]
"""Where a walk goes on: the instruction, how many of its layers to enter, and the input."""


class Fail(Exception):
    """A failure that did not come as an exception, on its way to the frames."""

    def __init__(self, error: Any) -> None:
        self.error = error


class OuterExpired(BaseException):
    """A limit around this walk is over, so everything in it ends without a word; the walk that keeps it goes on."""


class Frame:
    """One entered policy: where it was entered, around which tasks, and the earliest limit open in it."""

    __slots__ = ("edge", "high", "layer", "low", "place", "retries", "until")

    def __init__(self, layer: Layer, place: Place, low: int, high: int) -> None:
        self.layer = layer
        self.place = place  # where what it wraps begins
        self.low = low
        self.high = high
        self.until = self.edge = INF
        self.retries = 0

    def name(self, plan: Plan) -> str:
        """The task, or the part of the chain, that it is around."""
        first, last = plan.tasks[self.low].name, plan.tasks[self.high - 1].name
        if self.high - self.low == 1:
            return first
        return plan.title if self.high - self.low == len(plan.tasks) else f"{first} .. {last}"

    def expired(self, plan: Plan) -> Exception:
        """The error it gives when its limit is over. Only a timeout has one."""
        return TaskTimedOut(self.name(plan), milliseconds(self.layer.seconds if isinstance(self.layer, Timeout) else 0))


def enter(frames: list[Frame], outer: float, entered: float, op: Op, place: Place) -> None:
    """Enter the layers of a TASK or ENTER, the outermost first, all at the instant ``entered``."""
    pc, depth, value = place
    layers, low, high = (op[5], op[3], op[3] + 1) if op[0] == TASK else op[1:]
    edge = frames[-1].edge if frames else outer
    for k in reversed(range(len(layers) if depth == FULL else depth)):
        layer = layers[k]
        frame = Frame(layer, (pc, k, value), low, high)
        if type(layer) is Timeout:
            frame.until = entered + layer.seconds
            edge = min(edge, frame.until)
        frame.edge = edge
        frames.append(frame)


async def leave(strand: Strand, frames: list[Frame], count: int, value: Any) -> None:
    """Leave the ``count`` innermost frames with a value, the innermost first; one of them may not accept it."""
    for _ in range(count):
        frame = frames[-1]
        layer = frame.layer
        if type(layer) is Retry and layer.accept is not None and not await ask(strand, "accept", layer.accept, value):
            error = NotAccepted(frame.name(strand.run.plan), value)
            if frame.high - frame.low == 1:
                note_failure(entry_of(strand.run.log, frame.low), error)
            raise Fail(error)
        frames.pop()


async def unwind(strand: Strand, frames: list[Frame], error: Any) -> Place | None:
    """``error`` goes up through the frames until one takes it. Says where to go on; None: the walk has failed."""
    while frames:
        frame = frames[-1]
        layer = frame.layer
        if type(layer) is Retry and await _wanted(strand, layer, frame, error) and await _rested(strand, frame, error):
            frame.retries += 1
            new_round(strand.run.log, frame.low, frame.high)
            return frame.place
        frames.pop()
        if type(layer) is Fallback:
            close(strand.run.log, frame.low, frame.high, error)
            return layer.handler, FULL, error if layer.error else frame.place[2]
    return None


async def _wanted(strand: Strand, layer: Retry, frame: Frame, error: Any) -> bool:
    if not layer.left(frame.retries):
        return False
    matches = layer.matches(error)
    if matches is None:
        return bool(await ask(strand, "on", layer.on, error))  # type: ignore[arg-type]  # None: `on` is a predicate
    return matches


async def _rested(strand: Strand, frame: Frame, error: Any) -> bool:
    """Wait as the backoff says; False, at once, when that wait does not fit into the limits around it."""
    layer = frame.layer
    delay = layer.delay(frame.retries, error) if isinstance(layer, Retry) else 0.0
    if strand.rt.now() + delay >= frame.edge:
        return False
    if frame.high - frame.low == 1:
        entry_of(strand.run.log, frame.low).status = "running"  # a task that rests is not over
    strand.edge = frame.edge
    strand.slot.arm(frame.edge)
    await strand.rt.sleep(delay)  # also 0: a cancellation that the body answered with an error is heard here
    return True


async def ask(strand: Strand, role: str, fn: Callable[..., Any], *args: Any) -> Any:
    """Call a user's predicate or hook. An error in it names it and is never retried."""
    if strand.rt.places:
        try:
            return fn(*args)
        except Exception as exc:  # noqa: BLE001 - any error of a callback is told as its own
            error: BaseException = exc
    else:
        got = await strand.rt.call(fn, args, {})
        if type(got) is not Raised:
            return got
        error = got.error
        if not isinstance(error, Exception):
            raise error
    raise CallbackFailed(role, getattr(fn, "__name__", type(fn).__name__), error)


def expire(strand: Strand, frames: list[Frame], now: float) -> Exception:
    """A limit is over, or the run was stopped: drop the frames inside the OUTERMOST one, which answers for it."""
    run = strand.run
    if not strand.root and now >= strand.outer:
        raise OuterExpired
    if strand.root and (run.stop_error is not None or now >= strand.outer):
        frames.clear()
        error = run.stop_error or run.overdue()
        close(run.log, 0, len(run.log), error)
        return error
    over = next((k for k, frame in enumerate(frames) if frame.until <= now), None)
    if over is None:
        if not strand.root:
            raise OuterExpired  # the interruption was not ours: the run was stopped, or a limit around us was over
        over = min(range(len(frames)), key=lambda k: frames[k].until)  # a timer that fired a moment early
    frame = frames[over]
    del frames[over:]
    error = frame.expired(run.plan)
    close(run.log, frame.low, frame.high, error)
    return error
