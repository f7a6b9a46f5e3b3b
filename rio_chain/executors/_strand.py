"""Coroutines driven by hand, so that a limited call needs no switch to another thread.

A *strand* is a coroutine that a worker of the pool drives: it sends values in and gets *traps* out.

* A call ``(fn, args, kwargs)``: the worker calls the function itself and sends the answer back.
* A ``ThreadWaiter``: the strand is parked and its worker does other work, until the waiter wakes it.

``_strand_slot`` interrupts a strand, in a call or while it is parked. Apart from the claim that is described there, the
state of a strand changes under its lock. The lock is re-entrant, and nothing is called between reading the state and
the change that depends on it: a finaliser or signal handler may re-enter and wake the same strand.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from rio_chain._core.awaited import awaited
from rio_chain._core.unhandled_errors import surely
from rio_chain.engine._blocking_call import NO_KWARGS
from rio_chain.engine._runtime_protocol import answer, kind_of
from rio_chain.engine._thread_bound_values import Pinned, PinnedThread
from rio_chain.executors._current_strand import this_thread
from rio_chain.executors._strand_slot import DONE, DRIVEN, PARKED, READY, StrandSlot
from rio_chain.executors._thread_waiter import ThreadWaiter

if TYPE_CHECKING:
    from rio_chain.executors._thread_kernel import Kernel

Ended = Callable[[Any, BaseException | None], None]
"""Called once when a strand has ended, with its value, or with the error that left it."""


def _same(value: Any) -> Any:
    return value


class ThreadStrand(StrandSlot):
    """A coroutine that the pool runs. It is its own ``Slot``."""

    __slots__ = ("_call", "_ended", "main")

    def __init__(self, kernel: Kernel, main: Callable[[], Awaitable[Any]], context: Context, ended: Ended) -> None:
        super().__init__(kernel, context)
        self.main = main  # makes the coroutine
        self._ended = ended
        self._call: tuple[Any, ...] | None = None  # the call that it needs a worker for, after it ran without one
        kernel.strands.add(self)

    def drive(self) -> bool:
        """As ``StrandSlot.drive``."""
        with self._lock:
            if self._state != READY:
                return False  # it was stopped before it began
            self._state = DRIVEN
        claim = self._claim
        while True:
            try:
                return self._go(self._resumed())
            except BaseException as failed:  # noqa: BLE001 - an internal error, as without memory; the strand gets it
                with self._lock:
                    if self._claim is not claim:
                        return True
                    claim.clear()
                self._error = surely(partial(self._failed, failed))
                if self._is_over():
                    return False

    def _resumed(self) -> Coroutine[Any, Any, Any]:
        """The coroutine, which this thread drives from now on."""
        self._on = None
        coro = self._coro
        if coro is None:
            main: Any = surely(self.main)
            coro = self._coro = cast("Coroutine[Any, Any, Any]", main) if inspect.iscoroutine(main) else awaited(main)
        this_thread.strand = self
        return coro

    def _is_over(self) -> bool:
        return self._state == DONE

    def _failed(self, error: BaseException) -> BaseException | None:
        """An internal error has occurred. Gives the error to throw in; None before there is code to handle it."""
        coro = getattr(self, "_coro", None)
        if self._is_over() or (coro is not None and coro.cr_frame is None):
            self._end(None, error)
        return error if coro is not None and inspect.getcoroutinestate(coro) != inspect.CORO_CREATED else None

    def advance(self) -> bool:
        """Run without a worker: up to the next call, which needs one (True), or until it is parked or over."""
        with self._lock:
            if self._state != READY:
                return False
            if self._call is not None and self._error is None and not self._flagged:
                return True
            self._state = DRIVEN
        outer = this_thread.strand
        try:
            while True:
                try:
                    return self._advance(self._resumed())
                except BaseException as failed:  # noqa: BLE001 - as in ``drive``
                    self._error = surely(partial(self._failed, failed))
                    if self._is_over():
                        return False
        finally:
            this_thread.strand = outer

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
                except BaseException as raised:  # noqa: BLE001 - the code that started the strand gets it
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
        error, self._error = self._error, None  # no other variable may hold it, as its traceback will keep this frame
        if self._call is not None:
            what, self._call = self._call, None
            send = lambda _: what  # noqa: E731 - the call that it reached without a worker
        while True:
            try:
                what = run(send, value) if error is None else run(coro.throw, error)
            except StopIteration as stop:
                error = None
                self._end(stop.value, None)
                return False
            except BaseException as raised:  # noqa: BLE001 - the code that started the strand gets it
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
            if kind_of(what) is not tuple:  # an awaitable of a loop; the error is thrown in where it is awaited
                error = self.kernel.stray(coro)
                continue
            if pool.abandoned >= pool.max_abandoned:
                value = pool.refusal()
                continue
            while True:
                claim.append(None)
                if not self._flagged:  # read after the append: an interruption sets the flag before it pops
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
                with self._lock:  # an interruption may have taken the claim and put it back
                    if not claim:
                        return True
                    claim.pop()
                    error = self._pending()
                if error is not None:
                    break

    def _detached(self, pinned: Pinned, context: Context) -> PinnedThread | None:
        """Keep this thread for the value that it made; another thread drives the strand. None if that is impossible."""
        pinned.context = context
        worker = self.kernel.pool.detach(self.drive)
        if worker is None:  # this thread drives one strand inside of another, as in virtual time
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
            del self.main, self._coro, self._delivered, self.context, self._ended  # a late timer may still keep us

    def disown(self) -> None:
        """It never begins, because starting it failed. If it has begun, it continues."""
        with self._lock:
            if self._state != READY or self._coro is not None:
                return
            self._state = DONE
        self.kernel.strands.discard(self)

    def wake(self, signal: ThreadWaiter) -> None:
        """Resume it, if it is parked on this signal. From any thread."""
        with self._lock:
            signal.woken = True
            if self._on is not signal or self._state not in (PARKED, READY):
                return
            self._state = READY  # also if it is ready: a step after this may have failed, so it is repeated
        self._submit()

    @property
    def coroutine(self) -> Coroutine[Any, Any, Any] | None:
        """The coroutine; None before it has begun."""
        return self._coro
