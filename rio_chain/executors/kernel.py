"""The kernel of the thread runtime: coroutines driven by hand, so that a limited call costs no hop to another thread.

A *strand* is a coroutine that a worker of the crew drives: it sends values in and gets *traps* out.

* A call ``(fn, args, kwargs)``: the worker runs the function itself and sends the answer back.
* A ``Signal``: the strand is parked and its worker does something else, until the signal wakes it.

When the strand is interrupted in a call, it is *taken over*: the call counts as abandoned and another worker goes on
with the strand. While it calls, a token lies in its ``_claim``, and whoever pops that owns the strand: the worker whose
call returns, or who interrupts it. A list's append and pop are atomic and cost a third of a lock. Each takeover leaves
a new claim for the next worker, so the stuck thread finds its old one empty, and retires.

All else about a strand changes under its lock. That is re-entrant, and nothing is called between a look at the state
and the change that follows from it: a finaliser or signal handler may come back in and wake the same strand.
"""

from __future__ import annotations

import contextlib
import inspect
import threading
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from functools import partial
from math import inf
from typing import Any, Protocol, cast

from rio_chain.engine.report import report
from rio_chain.engine.runtime import kind_of
from rio_chain.executors.crew import Crew, LeftCall, answer
from rio_chain.executors.timers import Alarm

READY, DRIVEN, PARKED, DONE = "ready", "driven", "parked", "done"

Ended = Callable[[Any, BaseException | None], None]
"""Told once how a strand ended: its value, or the error that left it."""


class Expired(BaseException):
    """A limit of the strand is over, or its slot was told to stop."""


class StrandCancelled(BaseException):
    """A race is decided and doesn't need this strand."""


class Timers(Protocol):
    """A clock and what it fires; ``TimerThread``, or a clock for tests."""

    now: Callable[[], float]

    def push(self, alarm: Alarm, at: float) -> None:
        """As ``Deadlines.push``, from any thread."""
        ...


class Kernel:
    """What all strands of one runtime share."""

    def __init__(self, crew: Crew, timers: Timers) -> None:
        self.crew = crew
        self.timers = timers
        self.strands: set[Strand] = set()  # that have not ended; it also keeps parked ones alive
        self.limits: list[Limit] = []  # not in use
        self.stray: Callable[[object], BaseException] = _stray

    def spawn(self, main: Callable[[], Awaitable[None]], context: Context) -> None:
        """Start a strand of its own, from any thread."""
        try:
            self.crew.submit(Strand(self, main, context, _report).drive)
        except BaseException:  # a Ctrl-C may come anywhere: it is none of those who will end
            self.strands -= {strand for strand in self.strands.copy() if strand.main is main}
            raise


def _report(_: object, error: BaseException | None) -> None:
    if error is not None:
        report(error)


def _stray(_: object) -> BaseException:
    return RuntimeError("a strand can only await what its own runtime gives")


class Limit:
    """What the timers know of a strand. Pooled: its entry in the heap outlives the strand, and serves another one."""

    __slots__ = ("deadline", "entry_at", "strand")

    def __init__(self) -> None:
        self.deadline = self.entry_at = inf
        self.strand: Strand | None = None

    def fire(self, now: float) -> None:
        """Interrupt the strand, if its deadline has not moved on."""
        strand = self.strand
        if strand is not None:
            strand.expire(self, now)


class Signal:
    """What a strand parks on: a ``Waiter``. A wake before the wait is kept; one that nobody waits for is nothing."""

    __slots__ = ("left", "shielded", "strand", "woken")

    def __init__(self, strand: Strand, left: Callable[[], None] | None = None) -> None:
        self.strand = strand
        self.left = left  # called by whoever interrupts the wait, on that thread
        self.shielded = False
        self.woken = False

    async def wait(self) -> None:
        """Until woken; interruptible."""
        if not self.woken:
            await trap(self)

    async def wait_shielded(self) -> None:
        """Until woken; an interruption stays pending until the strand waits for something else."""
        self.shielded = True
        if not self.woken:
            await trap(self)

    def wake(self) -> None:
        """From any thread."""
        self.strand.wake(self)


class Sleep(Signal):
    """A signal that a timer wakes."""

    __slots__ = ("deadline", "entry_at")

    def __init__(self, strand: Strand, at: float) -> None:
        super().__init__(strand)
        self.deadline = at
        self.entry_at = inf

    def fire(self, now: float) -> None:  # noqa: ARG002 - a sleep never moves its deadline
        """The time has come."""
        self.wake()


async def sleep(seconds: float) -> None:
    """Park the strand that calls for so many seconds."""
    timers = current().kernel.timers
    sleeper = Sleep(current(), timers.now() + seconds)
    timers.push(sleeper, sleeper.deadline)
    try:
        await sleeper.wait()
    finally:
        sleeper.deadline = inf


async def let_others() -> None:
    """Go on when those that are ready now had their turn."""
    signal = Signal(current())
    current().kernel.crew.submit(partial(_woken, signal))
    await signal.wait()


def _woken(signal: Signal) -> bool:
    signal.wake()
    return False


@types.coroutine
def trap(what: Any) -> Generator[Any, Any, Any]:
    """Hand ``what`` to the worker that drives the strand."""
    return (yield what)


class _Here(threading.local):
    strand: Strand | None = None


_here = _Here()


def driven() -> Strand | None:
    """The strand that this thread drives, if it drives one."""
    return _here.strand


def current() -> Strand:
    """The strand that this thread drives."""
    strand = _here.strand
    if strand is None:
        raise RuntimeError("this thread drives no strand")
    return strand


@contextlib.contextmanager
def set_aside() -> Generator[None]:
    """For whoever drives others in the middle of the strand that calls, if there is one."""
    strand, _here.strand = _here.strand, None
    try:
        yield
    finally:
        _here.strand = strand


def driven_within(strand: Strand) -> None:
    """Begin a strand at once, in the middle of the one that calls, which then goes on."""
    outer = _here.strand
    try:
        strand.drive()
    finally:
        _here.strand = outer


async def _run(main: Awaitable[Any]) -> Any:
    return await main


class Strand:
    """One coroutine on its way through the crew. It is its own ``Slot``."""

    __slots__ = (
        "_cancelling", "_claim", "_coro", "_delivered", "_ended", "_error", "_expiring", "_flagged", "_limit", "_lock",
        "_on", "_state", "_stopped", "_stopping", "context", "kernel", "main",
    )  # fmt: skip

    def __init__(self, kernel: Kernel, main: Callable[[], Awaitable[Any]], context: Context, ended: Ended) -> None:
        self.kernel = kernel
        self.context = context
        self.main = main  # what it runs
        self._ended = ended
        self._coro: Coroutine[Any, Any, Any] | None = None
        self._lock = threading.RLock()
        self._state = READY
        self._claim: list[None] = []
        self._on: Signal | None = None  # what it is parked on
        self._error: BaseException | None = None  # to be thrown in when it is driven next
        self._limit: Limit | None = None
        self._delivered: Expired | None = None  # an interruption that is not settled
        self._flagged = False  # one of these waits for the next trap:
        self._cancelling = self._expiring = self._stopping = False
        self._stopped = False
        kernel.strands.add(self)

    # --- driving ----------------------------------------------------------------------------------------------

    def drive(self) -> bool:
        """Go on until the strand is parked, over, or taken over (then True). An item of the crew."""
        with self._lock:
            if self._state != READY:
                return False  # it was stopped before it began
            self._state = DRIVEN
        error, self._error, self._on = self._error, None, None
        coro = self._coro
        if coro is None:
            main: Any = self.main()
            coro = self._coro = cast("Coroutine[Any, Any, Any]", main) if inspect.iscoroutine(main) else _run(main)
        _here.strand = self
        return self._go(coro, error)

    def _go(self, coro: Coroutine[Any, Any, Any], error: BaseException | None) -> bool:  # noqa: C901, PLR0912 - the hot loop
        context, claim, crew = self.context, self._claim, self.kernel.crew
        run, copy, send, value = context.run, context.copy, coro.send, None
        while True:
            try:
                what = run(send, value) if error is None else run(coro.throw, error)
            except StopIteration as stop:
                self._end(stop.value, None)
                return False
            except BaseException as raised:  # noqa: BLE001 - told to whoever started the strand
                self._end(None, raised)
                return False
            error = value = None
            if isinstance(what, Signal):
                with self._lock:
                    if self._flagged and not what.shielded:
                        error = self._pending()
                    if error is None and not what.woken:
                        self._on = what
                        self._state = PARKED
                        return False
                continue
            if kind_of(what) is not tuple:  # the awaitable of some loop; thrown in where it is awaited
                error = self.kernel.stray(coro)
                continue
            if crew.abandoned >= crew.max_abandoned:
                value = crew.refusal()
                continue
            while True:
                claim.append(None)
                if not self._flagged:  # read after the append: an interruption sets it first and pops second
                    value = answer(copy(), *what)
                    try:
                        claim.pop()
                    except IndexError:
                        with self._lock:  # held until the call is counted as abandoned
                            crew.left.pop(id(claim), None)
                            return True
                    break
                with self._lock:  # who interrupts may have taken the claim, and put it back
                    if not claim:
                        crew.left.pop(id(claim), None)
                        return True
                    claim.pop()
                    error = self._pending()
                if error is not None:
                    break

    def _end(self, value: Any, error: BaseException | None) -> None:
        if self._limit is not None:
            self.release()
        self._state = DONE
        ended = self._ended
        del self.main, self._coro, self._ended, self._delivered, self.context  # a late timer may still hold us
        self.kernel.strands.discard(self)
        ended(value, error)

    def wake(self, signal: Signal) -> None:
        """Go on, if parked on this signal. From any thread."""
        with self._lock:
            signal.woken = True
            if self._state != PARKED or self._on is not signal:
                return
            self._state = READY
        self.kernel.crew.submit(self.drive)

    @property
    def coroutine(self) -> Coroutine[Any, Any, Any] | None:
        """What it runs; None before it has begun."""
        return self._coro

    # --- interruptions ----------------------------------------------------------------------------------------

    def _interrupt(self, error: BaseException, limit: Limit | None = None, now: float = 0) -> bool:
        """Throw ``error`` where the strand waits, then ``submit``. False: it does not wait, and finds the flag later.

        Under the lock, with the flag up. With a ``limit``, only if that is over: the strand arms without the lock, and
        may be in its next call by now; or, where it sees the flag, be about to make that.
        """
        if limit is not None and limit.deadline > now:
            return False
        on = self._on
        if self._state == PARKED and on is not None and not on.shielded:
            self._state = READY
            self._error = error
            return True
        if self._state != DRIVEN:
            return False
        try:
            self._claim.pop()
        except IndexError:
            return False  # it is not in a call
        if limit is not None and limit.deadline > now:
            self._claim.append(None)
            return False
        self._state = READY
        self._error = error
        claim, self._claim = self._claim, []
        self.kernel.crew.left[id(claim)] = LeftCall(self.context)
        self.kernel.crew.give_up()
        return True

    def _expire(self, limit: Limit, error: Expired, now: float | None = None) -> bool:
        """Interrupt with an expiry; with ``now``, if the limit is over then. Under the lock, with the flag up."""
        if not (self._interrupt(error) if now is None else self._interrupt(error, limit, now)):
            return False
        limit.deadline = inf
        self._delivered = error
        self._stopping = self._expiring = False
        self._flagged = self._cancelling
        return True

    def _pending(self) -> BaseException | None:
        """Lower the flag: the interruption that came while the strand did not wait, if it still counts.

        Under the lock.
        """
        if self._cancelling:
            self._cancelling = False
            self._flagged = self._expiring or self._stopping
            return StrandCancelled()
        limit, stopping, expiring = self._limit, self._stopping, self._expiring
        self._flagged = self._stopping = self._expiring = False
        if limit is None or not (stopping or (expiring and limit.deadline <= self.kernel.timers.now())):
            return None
        limit.deadline = inf
        self._delivered = Expired()
        return self._delivered

    def expire(self, limit: Limit, now: float) -> None:
        """The timer says that this limit is over."""
        error = Expired()
        with self._lock:
            if self._limit is not limit or limit.deadline > now:
                return  # released, or armed anew since the timer looked: that pushed an entry of its own
            self._flagged = self._expiring = True
            interrupted = self._expire(limit, error, now)
        if interrupted:
            self._go_on()

    def stop(self) -> None:
        """As ``Slot.stop``."""
        error = Expired()
        with self._lock:
            limit = self._limit
            if limit is None or self._stopped:
                return
            self._stopped = self._flagged = self._stopping = True
            interrupted = self._expire(limit, error)
        if interrupted:
            self._go_on()

    def cancel(self) -> None:
        """End the strand with ``StrandCancelled``: now, or when it next waits. From any thread."""
        error = StrandCancelled()
        with self._lock:
            if self._state == DONE:
                return
            begun = self._state != READY or self._coro is not None
            interrupted = False
            if begun:
                self._flagged = self._cancelling = True
                interrupted = self._interrupt(error)
                if interrupted:
                    self._cancelling = False
                    self._flagged = self._expiring or self._stopping
            else:
                self._state = DONE
        if interrupted:
            self._go_on()
        elif not begun:
            self._end(None, error)

    def _go_on(self) -> None:
        """After an interruption. Nobody drives it before this, and then it may have to wait for a thread."""
        if self._on is not None and self._on.left is not None:
            self._on.left()
        self.kernel.crew.submit(self.drive)

    # --- the slot ---------------------------------------------------------------------------------------------

    def slot(self) -> Strand:
        """The strand as a ``Slot``, with nothing armed."""
        if self._limit is None:
            try:
                limit = self.kernel.limits.pop()
            except IndexError:
                limit = Limit()
            self._stopped = False
            self._limit = limit
            limit.strand = self
        return self

    @property
    def alarm(self) -> Limit:
        """As ``Slot.alarm``."""
        if self._limit is None:
            raise RuntimeError("the slot is released")
        return self._limit

    def arm(self, at: float) -> None:
        """As ``Slot.arm``: a float store, unless nothing that early is in the heap."""
        limit = self._limit
        if limit is not None:
            limit.deadline = at
            if at < limit.entry_at:
                self.kernel.timers.push(limit, at)

    def settle(self, error: BaseException | None) -> bool:
        """As ``Slot.settle``; a cancellation is never ours."""
        delivered, self._delivered = self._delivered, None
        return delivered is not None and not isinstance(error, StrandCancelled)

    def release(self) -> None:
        """As ``Slot.release``."""
        with self._lock:
            limit, self._limit = self._limit, None
            self._expiring = self._stopping = False
            self._flagged = self._cancelling
        if limit is not None:
            limit.deadline = inf
            limit.strand = None
            self.kernel.limits.append(limit)
