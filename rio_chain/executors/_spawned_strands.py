"""Strands that no caller waits for, and their owners: see ``Runtime.spawn``.

Each runtime owns the strands that began on it. The runtime of a balancer serves only its requests, so the balancer
closes the strands that its requests began. The runtime of a loop serves the requests that are awaited there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from typing import Protocol

from rio_chain._core.forks import after_fork, keep_alive
from rio_chain._core.tracebacks import drop_frames
from rio_chain._core.unhandled_errors import report_unhandled, surely
from rio_chain.engine._current_run import CURRENT, NOTHING, Run, Strand
from rio_chain.engine._run import ABANDON_AFTER
from rio_chain.engine._runtime_protocol import Runtime, SpawnedWork, no_winner
from rio_chain.errors import TicketCancelled
from rio_chain.executors._run_ticket import LOST

living: set[OwnedStrand] = set()
"""All open strands of this process. asyncio itself keeps its tasks only weakly."""


def _renew() -> None:
    """In a forked child: they continue only in the parent."""
    keep_alive(living.copy())
    living.clear()


after_fork(_renew)


class OwningRuntime(Runtime, Protocol):
    """A runtime that strands are spawned on."""

    def start(self, strand: OwnedStrand, context: Context) -> object:
        """Start a strand that runs ``strand.serve`` in that context. Gives an object to keep until it ends."""
        ...

    def ends(self, error: BaseException) -> bool:
        """Whether the calling strand got this error because its loop is ending."""
        ...


class SpawnedStrands:
    """The strands of one runtime that no caller waits for.

    Attributes:
        abandon_after: the limit of strands without another one, in seconds.
    """

    def __init__(self, rt: OwningRuntime) -> None:
        self.rt = rt
        self.abandon_after = ABANDON_AFTER
        self._open: set[OwnedStrand] = set()
        self._shut: str | None = None
        self._idle: list[Callable[[], None]] = []

    def spawn(self, main: SpawnedWork, limit: float | None = None) -> OwnedStrand:
        """As ``Runtime.spawn``."""
        begun_by = CURRENT.get()
        if begun_by is None or not begun_by.open:
            raise RuntimeError("only a strand of an open run can spawn another one")
        strand = OwnedStrand(self, main, self.abandon_after if limit is None else limit, begun_by)
        if limit is None:
            strand.run.abandon_after = self.abandon_after
        try:
            self._open.add(strand)
            living.add(strand)
            if self._shut is not None:  # checked after adding, as `shut` goes through the set
                strand.refuse(self._shut)
            else:
                strand.line = self.rt.start(strand, copy_context())
        except BaseException:
            surely(partial(strand.over, TicketCancelled("it could not be started")))
            raise
        return strand

    def shut(self, why: str) -> None:
        """Cancel all of them, and refuse later ones. From any thread; does not wait."""
        self._shut = why
        for strand in self._open.copy():
            strand.cancel(why)

    def lost(self) -> None:
        """The loop does not run any more, so nothing on it continues."""
        self._shut = LOST
        for strand in self._open.copy():
            strand.lost()

    def when_idle(self, call: Callable[[], None]) -> None:
        """Call ``call`` as soon as all of them have ended. It must not raise; a second call of it must do nothing."""
        self._idle.append(call)
        self._tell()

    def runs(self, run: Run) -> bool:
        """Whether ``run`` is the run of one of them."""
        return any(strand.run is run for strand in self._open.copy())

    def ended(self, strand: OwnedStrand) -> None:
        """A strand has ended."""
        living.discard(strand)
        self._open.discard(strand)
        self._tell()

    def _tell(self) -> None:
        while self._idle and not self._open:
            call = self._idle[-1]  # kept until the call is made, so an interruption does not lose it
            call()
            with contextlib.suppress(ValueError):  # another thread has made it as well
                self._idle.remove(call)


class OwnedStrand:
    """A strand that no caller waits for: the result of ``Runtime.spawn``. It has its own run, deadline and log.

    Its work runs in a strand below it. On threads a strand keeps the limit of one run only, and ``main`` may begin
    other runs.
    """

    __slots__ = ("_limit", "_main", "_owner", "_pid", "_wakers", "at", "done", "error", "kept", "line", "run")

    def __init__(self, owner: SpawnedStrands, main: SpawnedWork, limit: float, begun_by: Strand) -> None:
        self.done = False
        self.error: BaseException | None = None
        self.line: object = None  # the object that its runtime gave for it
        self.run = run = Run(begun_by.run.plan)
        run.priority = begun_by.run.urgency()
        self.at, self.kept = begun_by.at, begun_by.kept.copy()
        self._limit = limit
        self._main: SpawnedWork | None = main
        self._owner = owner
        self._pid = os.getpid()
        self._wakers: list[Callable[[], None]] = []

    @property
    def name(self) -> str:
        """The name of the task that began it."""
        return self.run.plan.tasks[self.at].name

    def on(self, home: object) -> bool:
        """Whether it is on this loop."""
        return getattr(self._owner.rt, "home", None) is home

    def cancel(self, reason: str = "it was cancelled") -> None:
        """As ``SpawnedStrand.cancel``."""
        if not self.done and self._pid == os.getpid():
            self.run.stop(TicketCancelled(reason))

    def add_waker(self, waker: Callable[[], None]) -> None:
        """As ``SpawnedStrand.add_waker``."""
        self._wakers.append(waker)
        if self.done:  # the thread on which it ended may have woken the others already
            waker()

    async def serve(self) -> None:
        """Run it, in the strand that calls this. It handles all errors."""
        error: BaseException | None = None
        try:
            error = await self._within_limit()
        except BaseException as exc:  # noqa: BLE001 - no caller waits for it
            error = surely(partial(self._raised, exc))
        finally:
            surely(partial(self.over, error))
            del self, error  # the traceback of the error keeps this frame

    def _raised(self, error: BaseException) -> BaseException:
        """Report an error that left it, unless its loop is ending."""
        if isinstance(error, GeneratorExit) or self._owner.rt.ends(error):
            return TicketCancelled(LOST)
        report_unhandled(error)
        return error

    async def _within_limit(self) -> Exception | None:
        """Run it within its limit. Gives the error of the limit, or of ``cancel``, if one of these has ended it."""
        rt, run, main = self._owner.rt, self.run, self._main
        run.origin = now = rt.now()
        slot = rt.slot()
        run.root = strand = run.strand(rt, slot, now + self._limit)
        strand.at, strand.kept = self.at, self.kept
        CURRENT.set(strand)
        try:
            slot.arm(strand.deadline)
            if run.stop_error is not None or self._limit <= 0 or main is None:
                return run.stop_error or run.overdue()
            await rt.race([main], no_winner)
        except BaseException as error:
            if not slot.settle(error):
                raise
            return run.stop_error or run.overdue()
        finally:
            run.root = None
            strand.end()
            del self, main
        return None

    def refuse(self, why: str) -> None:
        """It never begins, because its owner accepts no more. That is reported, as no caller waits for it."""
        error = TicketCancelled(why)
        report_unhandled(error)
        self.over(error)

    def lost(self) -> None:
        """Its loop does not run any more, or has cancelled it before it began."""
        self.over(TicketCancelled(LOST))

    def over(self, error: BaseException | None) -> None:
        """It has ended, with this error or none. Only the first call counts."""
        if not self.done:
            drop_frames(error)
            self.error, self.done = error, True
            self._main = self.line = None
            self.kept = NOTHING
        wakers, self._wakers = self._wakers, []
        self._owner.ended(self)
        for waker in wakers:
            surely(waker)

    def __repr__(self) -> str:
        return f"<strand spawned by task {self.name}: {'done' if self.done else 'open'}>"


def on_loop(home: object) -> list[OwnedStrand]:
    """The open strands on this loop, of all runtimes."""
    return [strand for strand in living.copy() if strand.on(home)]
