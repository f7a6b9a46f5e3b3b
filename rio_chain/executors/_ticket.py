"""Ticket: a posted Request. Wait for it on any thread, await it on any loop, cancel it from anywhere."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rio_chain._core.notebook_repr import NotebookRepr
from rio_chain._core.tracebacks import as_kept, drop_frames
from rio_chain._core.unhandled_errors import call_once, report_unhandled, surely
from rio_chain._core.units import Duration, seconds
from rio_chain.chain._request import Request
from rio_chain.engine._current_run import Run
from rio_chain.engine._new_run import new_run
from rio_chain.errors import TicketCancelled, UsageError
from rio_chain.executors._blocking_wait import BlockingHost, release_once
from rio_chain.executors._running_loop import waiter_here
from rio_chain.policies._checks import callback as function
from rio_chain.results._observers import OBSERVERS

if TYPE_CHECKING:
    from rio_chain.engine._journal_protocol import RunJournal
    from rio_chain.results._observers import Observer
    from rio_chain.results._outcome import Outcome

Out = TypeVar("Out", covariant=True)


class Ticket(NotebookRepr, Generic[Out]):
    """The result of ``balancer.post``. It gets exactly one Outcome, whatever happens.

    It has no locks, so a finaliser or a signal handler may use it. An answer is one store, and the thread that stores
    it then calls all wakers. A caller that begins to wait adds its waker first and then checks for the answer. So a
    waker may be called twice; the second call does nothing.
    """

    __slots__ = ("__weakref__", "_error", "_outcome", "_seen", "_wakers", "host", "request", "run", "withdraw")

    def __init__(
        self,
        request: Request[Out],
        host: BlockingHost,
        observers: Sequence[Observer] = (),
        owner: object = None,
        journal: RunJournal | None = None,
    ) -> None:
        self.request = request
        plan = request.given[0]
        plain = not (OBSERVERS or observers or journal)
        self.run = Run(plan) if plain else new_run(plan, observers, owner, journal)
        self.host = host
        self.withdraw: Callable[[Exception], None] | None = None  # takes it out of the queue
        self._outcome: Outcome[Out] | None = None
        self._error: BaseException | None = None
        self._seen = False
        self._wakers: list[Callable[[], None]] = []

    @property
    def done(self) -> bool:
        """Whether the request has ended."""
        return self._outcome is not None or self._error is not None

    @property
    def outcome(self) -> Outcome[Out] | None:
        """The Outcome. None until the request has ended."""
        return self._outcome

    def cancel(self, reason: str = "its ticket was cancelled") -> None:
        """Cancel the request. It ends as soon as possible, with ``Failure(TicketCancelled)``. From any thread.

        A queued request never runs. A running one is stopped: its async functions are cancelled and awaited, and its
        sync functions are abandoned. If the request has ended, nothing changes. ``cancel`` never waits. In a forked
        child it does nothing, as the request runs in the parent.
        """
        if self.host.forked():
            return
        error = TicketCancelled(reason)
        self.run.stop(error)  # first, as it has the reason for code that finds the request withdrawn
        withdraw = self.withdraw  # read once, as an answer removes it
        if withdraw is not None:
            withdraw(error)

    def wait(self, timeout: Duration | None = None) -> Outcome[Out]:
        """Block until the Outcome is there, and return it.

        Args:
            timeout: the longest wait, in milliseconds or as a ``timedelta``. When it expires, the request goes on.
                Default None: wait until the request has ended.

        Raises:
            TimeoutError: the request has not ended within ``timeout``.
            UsageError: ``wait`` was called on the thread of the event loop that runs the request (write ``await
                ticket`` there), or in a process that was forked after the request was posted.
        """
        limit = None if timeout is None else seconds(timeout, "timeout", zero=True)
        if not self.done:
            self.host.check_process()
            if self.host.on_loop_thread():
                raise UsageError("`ticket.wait()` would block the loop that runs the request; write `await ticket`")
            gate = threading.Lock()
            gate.acquire()
            waker = release_once(gate)
            self.add_waker(waker)
            if not self.host.block(gate, limit):
                self._forget(waker)
                raise TimeoutError(f"no Outcome within {timeout} ms; the request goes on")
        try:
            return self._answer()
        finally:
            del self  # the traceback of an error keeps this frame

    def __await__(self) -> Generator[Any, Any, Outcome[Out]]:
        return self._wait().__await__()

    async def _wait(self) -> Outcome[Out]:
        if not self.done:
            self.host.check_process()
        waiter = waiter_here() if self.done else self.host.waiter()
        self.add_waker(waiter.wake)
        try:
            await waiter.wait()  # also if it is answered: on trio this is a checkpoint
        except BaseException:
            self._forget(waiter.wake)
            raise
        try:
            return self._answer()
        finally:
            del self  # the traceback of an error keeps this frame

    async def ended(self) -> None:
        """Wait until it is answered, even if this is cancelled; for code that then raises an interruption."""
        if self.host.forked():
            return
        waiter = self.host.waiter()
        self.add_waker(waiter.wake)
        await waiter.wait_shielded()

    def on_done(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` once when the Outcome is there, or at once if it is there already.

        Callbacks are called in the order in which they were added, on the thread that delivers the Outcome. This may be
        the thread of an event loop, so callbacks should be quick. If a callback raises, the error goes to
        ``threading.excepthook`` and has no other effect.

        Raises:
            ChainDefinitionError: ``callback`` is not a sync function.

        Example:
            >>> from rio_chain import Balancer, Task
            >>> with Balancer("thread") as balancer:
            ...     ticket = balancer.post(Task(len)("four"))
            ...     outcome = ticket.wait()
            >>> ticket.on_done(lambda: print(ticket.outcome.unwrap()))
            4
        """
        checked = function(callback, "callback", "a plain function that needs no argument", one=False)
        self.add_waker(partial(call_once, [checked]))

    def add_waker(self, waker: Callable[[], None]) -> None:
        """As ``on_done``, for an internal function. It must not raise, and a second call of it must do nothing."""
        self._wakers.append(waker)
        if self.done:  # the thread that answered it may have called the others already
            self._forget(waker)
            waker()

    def _forget(self, waker: Callable[[], None]) -> None:
        with contextlib.suppress(ValueError):  # `_wake` may clear the list at the same time
            self._wakers.remove(waker)

    def _wake(self) -> None:
        for waker in tuple(self._wakers):
            surely(waker)
        self._wakers.clear()

    def _answer(self) -> Outcome[Out]:
        self._seen = True
        if self._outcome is not None:
            return self._outcome
        if self._error is None:
            raise RuntimeError("woken without an answer")
        try:
            raise as_kept(self._error)
        finally:
            del self  # the traceback keeps this frame

    def resolve(self, outcome: Outcome[Out]) -> None:
        """Answer it. Only the first answer counts. Only the code that runs the request calls this."""
        if not self.done:
            self._outcome = outcome
            self.withdraw = None  # breaks a cycle
        try:
            self._wake()
        except BaseException:  # wakers don't raise: it came from a signal handler, or memory is short
            self._wake()
            raise

    def fail(self, error: BaseException) -> None:
        """A BaseException of the user's code ended the run. Whoever waits gets that exception."""
        if not self.done:
            drop_frames(error)
            self._error = error
            self.withdraw = None
        try:
            self._wake()
        except BaseException:  # as above
            self._wake()
            raise

    def __del__(self) -> None:
        error: BaseException | None = getattr(self, "_error", None)
        if error is not None and not self._seen:
            report_unhandled(error)

    def __repr__(self) -> str:
        return f"<Ticket of {self.request.plan.title}: {'done' if self.done else 'open'}>"
