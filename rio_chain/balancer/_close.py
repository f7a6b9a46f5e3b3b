"""How a balancer closes: it accepts no more requests, waits for the open ones, and then cancels the rest."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from rio_chain._core.units import Duration, seconds
from rio_chain.balancer._posted_request import CLOSED
from rio_chain.balancer._warnings import left_running
from rio_chain.engine._current_run import CURRENT, INF
from rio_chain.errors import UsageError
from rio_chain.executors import runtime_here
from rio_chain.executors._blocking_wait import BackgroundHost, BlockingHost, wait_until_done
from rio_chain.results._deliver import calling, calling_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from rio_chain.balancer._dispatch import Dispatcher
    from rio_chain.balancer._host_binding import HostBinding
    from rio_chain.engine._runtime_protocol import Runtime
    from rio_chain.executors._abandoned_threads import AbandonedCall

STOPPED_LOOP_GRACE = 1.0
"""Seconds that closing waits for a loop that does not run: its owner may be about to run it again."""


class Closing:
    """``close`` and ``aclose`` of a balancer, and the end of its ``with`` block.

    Args:
        dispatcher: knows the open requests.
        binding: is closed at the end.
        closed: is called last.
    """

    def __init__(self, dispatcher: Dispatcher, binding: HostBinding, closed: Callable[[], object]) -> None:
        self._dispatcher = dispatcher
        self._admission = dispatcher.admission
        self._binding = binding
        self._closed = closed
        self._interrupted = False  # whether its ``with`` block was interrupted
        self.over = False  # whether all requests are answered and everything is freed

    def leave_block(self, exc: BaseException | None) -> dict[str, Duration]:
        """The ``grace`` at the end of a block. A block that was cancelled or interrupted neither waits nor warns."""
        self._interrupted = exc is not None and not isinstance(exc, Exception)
        return {"grace": 0} if self._interrupted else {}

    def close(self, grace: Duration) -> None:
        """As ``Balancer.close``."""
        limit = seconds(grace, "grace", zero=True)
        bound = self._binding.bound()
        self._refuse_inside("close")
        if bound is not None and bound.on_loop_thread():
            raise UsageError("`close` would block the loop it waits for; write `await balancer.aclose()`")
        self._dispatcher.shut()
        host: BlockingHost = self._binding.host or BackgroundHost()  # another thread may have bound it meanwhile
        left = None
        try:
            if not self._drained(host, min(limit, STOPPED_LOOP_GRACE) if host.stopped() else limit):
                left = self._left_calls()
                self._cancel_left()
                self._cleaned_up(host)
        except BaseException:
            self._cancel_left()
            with contextlib.suppress(BaseException):  # a second Ctrl-C does not wait
                self._cleaned_up(host)
                self._freed()
            raise
        self._freed()
        self._warn_of_calls("close()", left)

    async def aclose(self, grace: Duration) -> None:
        """As ``Balancer.aclose``."""
        limit = seconds(grace, "grace", zero=True)
        bound = self._binding.bound()
        if bound is not None:
            bound.check_await()
        self._refuse_inside("aclose")
        self._dispatcher.shut("it was closed by aclose()")
        rt = runtime_here()
        host: BlockingHost = self._binding.host or BackgroundHost()  # another thread may have bound it meanwhile
        left = None
        try:
            if not await self._adrained(rt, min(limit, STOPPED_LOOP_GRACE) if host.stopped() else limit):
                left = self._left_calls()
                self._cancel_left()
                while not await self._adrained(rt, STOPPED_LOOP_GRACE if host.borrowed else INF):
                    if host.stopped():
                        self._lost()
        except BaseException:
            self._cancel_left()
            if host.stopped():
                self._lost()
            await self._answered(rt, shielded=True)
            raise
        finally:
            self._freed()
        for _ in range(2):  # trio runs its tasks in random order; after two rounds, those of the host have ended
            await rt.sleep(0)
        self._warn_of_calls("aclose()", left)

    def _refuse_inside(self, call: str) -> None:
        """Refuse to close in a function that this balancer runs, or in an observer: it would wait for itself."""
        host, strand = self._binding.host, CURRENT.get()
        # ``CURRENT`` is empty while a run waits, begins and ends
        if calling_for(self._admission) or (host is not None and calling() and host.drives_here()):
            raise UsageError(
                f"`{call}` in an observer of a run of this balancer would wait for that run; call it outside"
            )
        run = strand.run if strand is not None and strand.open else None
        while run is not None:
            if run in self._admission.runs or (host is not None and host.spawned.runs(run)):
                raise UsageError(
                    f"`{call}` in a function that this balancer runs would wait for itself; call it outside"
                )
            run = run.around

    def _cancel_left(self) -> None:
        """The grace is over: cancel the rest, and what it may still begin."""
        self._dispatcher.cancel_left()
        if self._binding.host is not None:
            self._binding.host.spawned.shut(CLOSED)

    def _lost(self) -> None:
        """The loop does not run, so nothing on it will end: answer everything."""
        self._dispatcher.lost(over=True)
        if self._binding.host is not None:
            self._binding.host.spawned.lost()

    def _freed(self) -> None:
        self._binding.close()
        self._closed()
        self.over = True

    def _left_calls(self) -> list[AbandonedCall]:
        """The abandoned calls that still run."""
        host = self._binding.host
        return [] if host is None else host.pool.left_calls()

    def _warn_of_calls(self, call: str, before: list[AbandonedCall] | None) -> None:
        """Warn of the calls that ``call`` itself abandoned, if any."""
        if before is not None and not self._interrupted:
            left_running(call, [left.task for left in self._left_calls() if left not in before])

    # --- waiting for the answers --------------------------------------------------------------------------------

    def _drained(self, host: BlockingHost, limit: float | None) -> bool:
        """Block until all requests have ended and have an Outcome. Returns False after ``limit`` seconds."""
        self._dispatcher.settle()
        bound = self._binding.host
        until = None if limit is None or bound is None else bound.runtime.now() + limit
        if not wait_until_done(host, self._admission.when_idle, limit):
            return False
        # their slots are free; their answers follow in a moment
        if not all(wait_until_done(host, add_waker, limit) for add_waker in self._dispatcher.open_ends()):
            return False
        if bound is None:
            return True
        left = None if until is None else max(0.0, until - bound.runtime.now())
        return wait_until_done(host, bound.spawned.when_idle, left)

    def _cleaned_up(self, host: BlockingHost) -> None:
        """Block until what was cancelled has ended. If the loop does not run, it is answered at once."""
        while not self._drained(host, STOPPED_LOOP_GRACE if host.borrowed else None):
            if host.stopped():
                self._lost()

    async def _adrained(self, rt: Runtime, limit: float) -> bool:
        slot = rt.slot()
        try:
            slot.arm(rt.now() + limit)
            await self._answered(rt)
        except BaseException as exc:
            if not slot.settle(exc):
                raise
            return False
        finally:
            slot.release()
        return True

    async def _answered(self, rt: Runtime, *, shielded: bool = False) -> None:
        """Wait until all requests have ended and are answered.

        A cancellation interrupts this, unless it is shielded.
        """
        self._dispatcher.settle()
        waiter = rt.waiter()
        self._admission.when_idle(waiter.wake)
        await (waiter.wait_shielded() if shielded else waiter.wait())
        for add_waker in self._dispatcher.open_ends():  # their slots are free; their answers follow in a moment
            waiter = rt.waiter()
            add_waker(waiter.wake)
            await (waiter.wait_shielded() if shielded else waiter.wait())
        if self._binding.host is not None:
            waiter = rt.waiter()
            self._binding.host.spawned.when_idle(waiter.wake)
            await (waiter.wait_shielded() if shielded else waiter.wait())
