"""The ticket of a run in a durable queue: any process can ask for it by its id."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from attrs import frozen
from returns.result import Failure, Result, Success

from rio_chain._core.units import Duration, milliseconds, seconds
from rio_chain.contrib._queue_errors import DeadRun
from rio_chain.contrib._queue_json import result_of
from rio_chain.dsl._task import Task
from rio_chain.executors import runtime_here

if TYPE_CHECKING:
    from rio_chain.contrib._queue_store import QueueStore, RunRow
    from rio_chain.results._outcome import Outcome

Out = TypeVar("Out", covariant=True)
Other = TypeVar("Other")
RunState = Literal["queued", "running", "succeeded", "failed", "cancelled", "dead"]
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.5
"""Seconds between two looks of a wait: it begins with the first, and each is one and a half times as long."""


@frozen
class DurableOutcome(Generic[Out]):
    """How a run has ended.

    Attributes:
        run_id: its id.
        result: ``Success(value)``, or ``Failure(error)``. The error of another process is a ``RunFailed``.
        status: ``succeeded``, ``failed``, ``cancelled`` or ``dead``.
        queued: milliseconds from the post until a worker began it the last time; None if none did.
        elapsed: milliseconds from there until it ended; None if it never began.
        deaths: how many workers have died while they ran it.
    """

    run_id: str
    result: Result[Out, Exception]
    status: RunState
    queued: float | None
    elapsed: float | None
    deaths: int

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return isinstance(self.result, Success)

    @property
    def error(self) -> Exception | None:
        """The error of a run that did not succeed."""
        return self.result.failure() if isinstance(self.result, Failure) else None

    def unwrap(self) -> Out:
        """The value. Raises the error of a run that did not succeed."""
        if isinstance(self.result, Success):
            value: Out = self.result.unwrap()
            return value
        raise self.result.failure()

    def value_or(self, default: Other) -> Out | Other:
        """The value; ``default`` if the run did not succeed."""
        return self.result.value_or(default)


def _between(before: datetime | None, after: datetime | None) -> float | None:
    return None if before is None or after is None else milliseconds((after - before).total_seconds())


def outcome_of(row: RunRow) -> DurableOutcome[Any] | None:
    """The outcome of a run; None if it has not ended."""
    if row.status in {"queued", "running"}:
        return None
    dead = row.status == "dead" or row.outcome is None
    result: Result[Any, Exception] = Failure(DeadRun(row.run_id, row.deaths)) if dead else result_of(row.outcome or "")
    status = cast("RunState", row.status)
    queued, elapsed = _between(row.posted_at, row.began_at), _between(row.began_at, row.ended_at)
    return DurableOutcome(row.run_id, result, status, queued, elapsed, row.deaths)


class DurableTicket(Generic[Out]):
    """A run in a durable queue, by its id. ``queue.ticket(run_id)`` gives one in any process.

    All methods but ``await`` ask the database, and block for that time. In async code call them in a thread, as with
    ``await asyncio.to_thread(ticket.status)``.
    """

    __slots__ = ("_recall", "_store", "run_id")

    def __init__(self, store: QueueStore, run_id: str, recall: Callable[[RunRow], Outcome[Any] | None]) -> None:
        self._store, self._recall = store, recall
        self.run_id = run_id
        """The id of the run."""

    def status(self) -> RunState:
        """What the run is doing: ``queued``, ``running``, ``succeeded``, ``failed``, ``cancelled`` or ``dead``.

        Raises:
            UnknownRun: the queue has no run with this id.
        """
        return cast("RunState", self._store.row(self.run_id).status)

    def outcome(self) -> DurableOutcome[Out] | None:
        """How the run has ended; None if it has not. Raises as ``status``."""
        return outcome_of(self._store.row(self.run_id))

    def whole_outcome(self) -> Outcome[Out] | None:
        """The Outcome with a ``Response`` for each task, as the journal of the queue has it.

        None if the run has not ended, was cancelled or is a dead letter, or if the queue has no journal.

        Raises:
            UnknownRun: the queue has no run with this id.
            ChainDefinitionError: its chain is not registered in this process.
            PlanChanged: the chain has changed since the run.
        """
        return self._recall(self._store.row(self.run_id))

    def cancel(self, reason: str = "its ticket was cancelled") -> None:
        """Cancel the run. One that waits never runs; one that runs is stopped within two seconds, as ``Ticket.cancel``
        does. If it has ended, nothing changes. Raises as ``status``.
        """
        self._store.cancel(self.run_id, reason)

    def wait(self, timeout: Duration | None = None) -> DurableOutcome[Out]:
        """Block until the run has ended, and return its outcome.

        Args:
            timeout: the longest wait, in milliseconds or as a ``timedelta``. Default None: no limit.

        Raises:
            TimeoutError: it has not ended within ``timeout``. It goes on.
            UnknownRun: the queue has no run with this id.
        """
        until = None if timeout is None else time.monotonic() + seconds(timeout, "timeout", zero=True)
        pause = FIRST_PAUSE
        while (outcome := self.outcome()) is None:
            left = pause if until is None else min(pause, until - time.monotonic())
            if left <= 0:
                raise TimeoutError(f"run {self.run_id!r} has not ended within {timeout} ms; it goes on")
            time.sleep(left)
            pause = min(LONGEST_PAUSE, pause * 1.5)
        return outcome

    def __await__(self) -> Generator[Any, Any, DurableOutcome[Out]]:
        return self._wait().__await__()

    async def _wait(self) -> DurableOutcome[Out]:
        ask, pause = Task(self.outcome), FIRST_PAUSE
        while (outcome := (await ask()).unwrap()) is None:
            await runtime_here().sleep(pause)
            pause = min(LONGEST_PAUSE, pause * 1.5)
        return outcome

    def __repr__(self) -> str:
        return f"<DurableTicket {self.run_id!r}>"
