"""The kernel of the thread runtime: coroutines driven by hand, so that a limited call costs no hop to another thread.

A *strand* is a coroutine that a worker of the pool drives: it sends values in and gets *traps* out.

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
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from functools import partial
from math import inf
from typing import Any, Protocol, cast

from rio_chain._core.awaited import awaited
from rio_chain._core.unhandled_errors import report_unhandled, surely
from rio_chain.engine._blocking_call import NO_KWARGS
from rio_chain.engine._runtime_protocol import answer, kind_of
from rio_chain.engine._thread_bound_values import Pinned, PinnedThread
from rio_chain.executors._timers import Timer
from rio_chain.executors._worker_pool import WorkerPool, WorkItem

READY, DRIVEN, PARKED, DONE = "ready", "driven", "parked", "done"
RETRY_START_AFTER = 0.05
"""Seconds between two attempts to start a thread that could not be started."""
CHECK_EVERY = 1.0
"""Seconds between two looks for lost wake-ups, and how late an expiry is that was lost."""

Ended = Callable[[Any, BaseException | None], None]
"""Told once how a strand ended: its value, or the error that left it."""


class Expired(BaseException):
    """A limit of the strand is over, or its slot was told to stop."""


class StrandCancelled(BaseException):
    """A race is decided and doesn't need this strand."""


class Timers(Protocol):
    """A clock and what it fires; ``TimerThread``, or a clock for tests."""

    now: Callable[[], float]

    def push(self, alarm: Timer, at: float) -> None:
        """As ``Deadlines.push``, from any thread."""
        ...


class Kernel:
    """What all strands of one runtime share."""

    def __init__(self, pool: WorkerPool, timers: Timers) -> None:
        self.pool = pool
        self.timers = timers
        self.strands: set[ThreadStrand] = set()  # that have not ended; it also keeps parked ones alive
        self.limits: list[StrandDeadline] = []  # not in use
        self.stray: Callable[[object], BaseException] = _stray
        self.rescue = StartRetry(self)
        pool.unserved, pool.wanted = self.rescue.add, self.rescue.waits
        self.host: Any = None  # that of its runtime, where async functions are strands too and may await requests

    def spawn(self, main: Callable[[], Awaitable[None]], context: Context, *, accepted: bool = False) -> None:
        """Start a strand of its own, from any thread.

        Args:
            main: what it runs.
            context: in which it runs.
            accepted: when no thread can be started, it waits for the next chance. Default: the error is raised.

        Raises:
            RuntimeError: no thread can be started and none is there. ``main`` will not run.
        """
        try:
            strand = ThreadStrand(self, main, context, _report)
            self.rescue.begin()
            (self.go_on if accepted else self.pool.submit)(strand.drive)
        except BaseException:  # an interruption may come anywhere, also before the strand has its name
            for late in [strand for strand in self.strands.copy() if strand.main is main]:
                late.disown()
            raise

    def go_on(self, item: WorkItem) -> None:
        """Have an item done that must not be lost: when no thread can be started, it waits for the next chance."""
        try:
            self.pool.submit(item)
        except BaseException as error:
            surely(partial(self.rescue.add, [item], error))
            if not isinstance(error, (RuntimeError, MemoryError)):
                raise


class StartRetry:
    """Items that wait for a thread that could not be started, and the alarm that looks for one again and again.

    Meanwhile the timer's thread drives each strand up to its next call. So limits hold, and what was cancelled ends,
    even if no thread can ever be started again.

    Where memory ends, any step of a wake-up may fail, also the one that would repeat it. So while there are strands,
    the alarm also looks for those whose wake-up or expiry was lost, and repeats that.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._items: deque[WorkItem] = deque()
        self.looks = False  # whether it looks for lost wake-ups; a clock for tests would never come to rest
        self.deadline = self.entry_at = inf

    def add(self, items: list[WorkItem], error: BaseException) -> None:  # noqa: ARG002 - as ``WorkerPool.unserved``
        """Look for a thread for these again in a moment."""
        self._items.extend(items)
        self._arm(RETRY_START_AFTER)

    def waits(self) -> bool:
        """Whether items wait here."""
        return bool(self._items)

    def begin(self) -> None:
        """There are strands now."""
        if self.looks and self.deadline == inf:
            self._arm(CHECK_EVERY)

    def _arm(self, seconds: float) -> None:
        self.deadline = at = self._kernel.timers.now() + seconds
        if at < self.entry_at:
            self._kernel.timers.push(self, at)

    def fire(self, now: float) -> None:
        """Look for a thread for each item, and at each strand."""
        self.deadline = inf
        try:
            for _ in range(len(self._items)):
                item = self._items[0]  # stays there until it is done: this may be interrupted as well
                if self._still_waits(item):
                    self._items.append(item)
                self._items.popleft()
            if self.looks:
                self._kernel.pool.look()
                for strand in self._kernel.strands.copy():
                    strand.look(now)
        finally:
            if self._items:
                self._arm(RETRY_START_AFTER)
            elif self.looks and self._kernel.strands:
                self._arm(CHECK_EVERY)

    def _still_waits(self, item: WorkItem) -> bool:
        try:
            self._kernel.pool.submit(item)
        except (RuntimeError, MemoryError):
            strand = getattr(item, "__self__", None)
            return strand.advance() if isinstance(strand, ThreadStrand) else item()
        return False


def _report(_: object, error: BaseException | None) -> None:
    if error is not None:
        report_unhandled(error)


def _stray(_: object) -> BaseException:
    return RuntimeError("a strand can only await what its own runtime gives")


class StrandDeadline:
    """What the timers know of a strand. Pooled: its entry in the heap outlives the strand, and serves another one."""

    __slots__ = ("deadline", "entry_at", "strand")

    def __init__(self) -> None:
        self.deadline = self.entry_at = inf
        self.strand: ThreadStrand | None = None

    def fire(self, now: float) -> None:
        """Interrupt the strand, if its deadline has not moved on."""
        strand = self.strand
        if strand is not None:
            strand.expire(self, now)


class ThreadWaiter:
    """What a strand parks on: a ``Waiter``. A wake before the wait is kept; one that nobody waits for is nothing."""

    __slots__ = ("left", "shielded", "strand", "woken")

    def __init__(self, strand: ThreadStrand, left: Callable[[], None] | None = None) -> None:
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


class ThreadSleep(ThreadWaiter):
    """A signal that a timer wakes."""

    __slots__ = ("deadline", "entry_at")

    def __init__(self, strand: ThreadStrand, at: float) -> None:
        super().__init__(strand)
        self.deadline = at
        self.entry_at = inf

    def fire(self, now: float) -> None:  # noqa: ARG002 - a sleep never moves its deadline
        """The time has come."""
        self.wake()


async def sleep(seconds: float) -> None:
    """Park the strand that calls for so many seconds."""
    timers = current_strand().kernel.timers
    sleeper = ThreadSleep(current_strand(), timers.now() + seconds)
    timers.push(sleeper, sleeper.deadline)
    try:
        await sleeper.wait()
    finally:
        sleeper.deadline = inf


async def yield_to_others() -> None:
    """Go on when those that are ready now had their turn."""
    signal = ThreadWaiter(current_strand())
    current_strand().kernel.go_on(partial(_woken, signal))
    await signal.wait()


def _woken(signal: ThreadWaiter) -> bool:
    signal.wake()
    return False


@types.coroutine
def trap(what: Any) -> Generator[Any, Any, Any]:
    """Hand ``what`` to the worker that drives the strand."""
    return (yield what)


class _Here(threading.local):
    strand: ThreadStrand | None = None


_here = _Here()


def driven_strand() -> ThreadStrand | None:
    """The strand that this thread drives, if it drives one."""
    return _here.strand


def current_strand() -> ThreadStrand:
    """The strand that this thread drives."""
    strand = _here.strand
    if strand is None:
        raise RuntimeError("this thread drives no strand")
    return strand


@contextlib.contextmanager
def no_current_strand() -> Generator[None]:
    """For whoever drives others in the middle of the strand that calls, if there is one."""
    strand, _here.strand = _here.strand, None
    try:
        yield
    finally:
        _here.strand = strand


def driven_within(strand: ThreadStrand) -> None:
    """Begin a strand at once, in the middle of the one that calls, which then goes on."""
    outer = _here.strand
    try:
        strand.drive()
    finally:
        _here.strand = outer


def _same(value: Any) -> Any:
    return value


class ThreadStrand:
    """One coroutine on its way through the pool. It is its own ``Slot``."""

    __slots__ = (
        "_call", "_cancelling", "_claim", "_coro", "_delivered", "_ended", "_error", "_expiring", "_flagged", "_limit",
        "_lock", "_on", "_state", "_stopped", "_stopping", "context", "kernel", "main",
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
        self._on: ThreadWaiter | None = None  # what it is parked on
        self._call: tuple[Any, ...] | None = None  # for which it needs a worker, after it went on without one
        self._error: BaseException | None = None  # to be thrown in when it is driven next
        self._limit: StrandDeadline | None = None
        self._delivered: Expired | None = None  # an interruption that is not settled
        self._flagged = False  # one of these waits for the next trap:
        self._cancelling = self._expiring = self._stopping = False
        self._stopped = False
        kernel.strands.add(self)

    # --- driving ----------------------------------------------------------------------------------------------

    def drive(self) -> bool:
        """Go on until the strand is parked, over, or taken over (then True). An item of the pool."""
        with self._lock:
            if self._state != READY:
                return False  # it was stopped before it began
            self._state = DRIVEN
        claim = self._claim
        while True:
            try:
                return self._go(self._resumed())
            except BaseException as failed:  # noqa: BLE001 - of this machinery, as where memory ends; the strand hears it
                with self._lock:
                    if self._claim is not claim:
                        return True
                    claim.clear()
                self._error = surely(partial(self._failed, failed))
                if self._is_over():
                    return False

    def _resumed(self) -> Coroutine[Any, Any, Any]:
        """The coroutine, on this thread."""
        self._on = None
        coro = self._coro
        if coro is None:
            main: Any = surely(self.main)
            coro = self._coro = cast("Coroutine[Any, Any, Any]", main) if inspect.iscoroutine(main) else awaited(main)
        _here.strand = self
        return coro

    def _is_over(self) -> bool:
        return self._state == DONE

    def _failed(self, error: BaseException) -> BaseException | None:
        """This machinery met an error. Gives what to throw in: nothing, before there is code that could handle it."""
        coro = getattr(self, "_coro", None)
        if self._is_over() or (coro is not None and coro.cr_frame is None):
            self._end(None, error)
        return error if coro is not None and inspect.getcoroutinestate(coro) != inspect.CORO_CREATED else None

    def advance(self) -> bool:
        """Go on without a worker: up to its next call, for which it needs one (True), or until it is parked or over."""
        with self._lock:
            if self._state != READY:
                return False
            if self._call is not None and self._error is None and not self._flagged:
                return True
            self._state = DRIVEN
        outer = _here.strand
        try:
            while True:
                try:
                    return self._advance(self._resumed())
                except BaseException as failed:  # noqa: BLE001 - as in ``drive``
                    self._error = surely(partial(self._failed, failed))
                    if self._is_over():
                        return False
        finally:
            _here.strand = outer

    def _advance(self, coro: Coroutine[Any, Any, Any]) -> bool:
        what: Any = self._call
        error, self._call, self._error = self._error, None, None  # no other variable may hold the error, as in ``_go``
        while True:
            if error is not None or what is None:
                try:
                    what = self.context.run(coro.send, None) if error is None else self.context.run(coro.throw, error)
                except StopIteration as stop:
                    error = None
                    self._end(stop.value, None)
                    return False
                except BaseException as raised:  # noqa: BLE001 - given to whoever started the strand
                    error = None
                    self._end(None, raised)
                    return False
                error = None
            with self._lock:
                signal = what if isinstance(what, ThreadWaiter) else None
                if self._flagged and not (signal and signal.shielded):
                    error = self._pending()
                if error is None and kind_of(what) is tuple:
                    self._call, self._state = cast("tuple[Any, ...]", what), READY
                    return True
                if error is None and signal is not None and not signal.woken:
                    self._on, self._state = signal, PARKED
                    return False
            if error is None and signal is None:
                error = self.kernel.stray(coro)
            what = None

    def _go(self, coro: Coroutine[Any, Any, Any]) -> bool:  # noqa: C901, PLR0912, PLR0915 - the hot loop
        context, claim, pool = self.context, self._claim, self.kernel.pool
        run, copy, resume, value = context.run, context.copy, coro.send, None
        send: Callable[[Any], Any] = resume
        error, self._error = self._error, None  # no other variable may hold it: its traceback will keep this frame
        if self._call is not None:
            what, self._call = self._call, None
            send = lambda _: what  # noqa: E731 - the call that it came to without a worker
        while True:
            try:
                what = run(send, value) if error is None else run(coro.throw, error)
            except StopIteration as stop:
                error = None
                self._end(stop.value, None)
                return False
            except BaseException as raised:  # noqa: BLE001 - told to whoever started the strand
                error = None
                self._end(None, raised)
                return False
            send = resume
            error = value = None
            if isinstance(what, ThreadWaiter):
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
            if pool.abandoned >= pool.max_abandoned:
                value = pool.refusal()
                continue
            while True:
                claim.append(None)
                if not self._flagged:  # read after the append: an interruption sets it first and pops second
                    value = answer(here := copy(), *what)
                    try:
                        claim.pop()
                    except IndexError:
                        with self._lock:  # held until the call is counted as abandoned
                            return True
                    if type(value) is Pinned and value.context is None:
                        thread = self._detached(value, here)
                        if thread is not None:
                            value = None  # or it would be kept here
                            thread.serve()
                            return True
                    break
                with self._lock:  # who interrupts may have taken the claim, and put it back
                    if not claim:
                        return True
                    claim.pop()
                    error = self._pending()
                if error is not None:
                    break

    def _detached(self, pinned: Pinned, context: Context) -> PinnedThread | None:
        """The thread stays with the value that it has made, and another one drives the strand. None: it can't."""
        pinned.context = context
        worker = self.kernel.pool.detach(self.drive)
        if worker is None:  # this thread drives one strand in the middle of another, as in virtual time
            return None
        thread, call, claim = (
            pinned.detach(context, self.kernel.pool, worker),
            (_same, (pinned,), NO_KWARGS),
            list[None](),
        )
        with self._lock:
            self._claim, self._call, self._state = claim, call, READY
        surely(self._submit)
        return thread

    def _end(self, value: Any, error: BaseException | None) -> None:
        if self._limit is not None:
            self.release()
        self._state = DONE
        self.kernel.strands.discard(self)
        ended = getattr(self, "_ended", None)
        if ended is not None:
            surely(partial(ended, value, error))
            del self.main, self._coro, self._delivered, self.context, self._ended  # a late timer may still hold us

    def disown(self) -> None:
        """It never begins, because the call that was to start it failed. If it has begun, it goes on."""
        with self._lock:
            if self._state != READY or self._coro is not None:
                return
            self._state = DONE
        self.kernel.strands.discard(self)

    def wake(self, signal: ThreadWaiter) -> None:
        """Go on, if parked on this signal. From any thread."""
        with self._lock:
            signal.woken = True
            if self._on is not signal or self._state not in (PARKED, READY):
                return
            self._state = READY  # also where it was ready: what failed after this, is done when it is woken again
        self._submit()

    @property
    def coroutine(self) -> Coroutine[Any, Any, Any] | None:
        """What it runs; None before it has begun."""
        return self._coro

    # --- interruptions ----------------------------------------------------------------------------------------

    def _interrupt(self, error: BaseException, limit: StrandDeadline | None = None, now: float = 0) -> bool:
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
        self._claim = []
        self.kernel.pool.give_up(self.drive, self.context)
        return True

    def _expire(self, limit: StrandDeadline, error: Expired, now: float | None = None) -> bool:
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

    def expire(self, limit: StrandDeadline, now: float) -> None:
        """The timer says that this limit is over."""
        error = Expired()
        with self._lock:
            if self._limit is not limit or limit.deadline > now:
                return  # released, or armed anew since the timer looked: that pushed an entry of its own
            self._flagged = self._expiring = True
            interrupted = self._expire(limit, error, now)
        if interrupted:
            surely(self._go_on)

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
            surely(self._go_on)

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
            surely(self._go_on)
        elif not begun:
            surely(partial(self._end, None, error))

    def _go_on(self) -> None:
        """After an interruption. Nobody drives it before this, and then it may have to wait for a thread."""
        if self._on is not None and self._on.left is not None:
            self._on.left()
        self._submit()

    def look(self, now: float) -> None:
        """Repeat its wake-up or its expiry, if that was lost."""
        with self._lock:
            limit, on = self._limit, self._on
            if self._state == PARKED and on is not None and on.woken:
                self._state = READY
            lost = self._state == READY and not self.kernel.pool.queued(self.drive)
        if lost:
            self._submit()
        elif limit is not None and limit.deadline < now - CHECK_EVERY:
            self.expire(limit, now)

    def _submit(self) -> None:
        """It is ready, and nobody else will have it driven."""
        try:
            self.kernel.go_on(self.drive)
        except MemoryError:
            surely(partial(self.kernel.go_on, self.drive))

    # --- the slot ---------------------------------------------------------------------------------------------

    def slot(self) -> ThreadStrand:
        """The strand as a ``Slot``, with nothing armed."""
        if self._limit is None:
            try:
                limit = self.kernel.limits.pop()
            except IndexError:
                limit = StrandDeadline()
            self._stopped = False
            self._limit = limit
            limit.strand = self
        return self

    @property
    def alarm(self) -> StrandDeadline:
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
