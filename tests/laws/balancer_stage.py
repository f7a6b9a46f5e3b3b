"""Where the real balancer of a machine lives: a world that obeys, gates that bodies wait at, what became of them."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from queue import Empty, SimpleQueue
from typing import Any

import sniffio
from attrs import define, field
from conformance.harness import SLACK, Child, Gate, World
from returns.result import Failure, Success

from rio_chain import DeadlineExceeded, LimitExceeded, Outcome, Request, Task, Ticket, TicketCancelled
from rio_chain.executors import loop_module_of

TICKS = 12
"""Steps of a loop after which all that can happen at this instant has happened."""


class BodyError(Exception):
    pass


class Stage:
    """A world on a thread of its own. Its loop and its time stop while nothing is asked of it."""

    patience = SLACK / 1000  # seconds; less when it has failed once, as it is shrunk from then on

    def __init__(self, mode: str) -> None:
        self.world = World(mode, real_time=False)
        self._asked = SimpleQueue[Callable[[], Awaitable[Any]] | None]()
        self._told = SimpleQueue[tuple[Any, Exception | None]]()
        self._thread = threading.Thread(target=self.world.drive, args=(self._obey,), daemon=True)
        self._thread.start()

    async def _obey(self) -> None:
        while (work := self._asked.get()) is not None:
            try:
                self._told.put((await work(), None))
            except Exception as error:  # noqa: BLE001 - raised where it was asked for
                self._told.put((None, error))

    def do(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Do it there, and give what it gives."""
        self._asked.put(work)
        try:
            value, error = self._told.get(timeout=2 * Stage.patience)
        except Empty:
            Stage.patience = 0.5
            raise AssertionError("it hangs") from None
        if error is not None:
            raise error
        return value

    def end(self) -> None:
        self._asked.put(None)
        self._thread.join(Stage.patience)
        assert not self._thread.is_alive()


@define(eq=False)
class Real:
    """An ``Asked`` of the real balancer: a ticket, or the call of ``arun``."""

    ticket: Ticket[Any] | None = None
    child: Child | None = None
    answers: list[None] = field(factory=list)

    def outcome(self) -> Outcome[Any] | None:
        """None: there is none yet, or the wait for it was cancelled."""
        if self.ticket is not None:
            return self.ticket.wait() if self.ticket.done else None
        return self.child.value if self.child is not None else None

    def summary(self) -> tuple[str, str, int]:
        """As ``Asked.summary``."""
        if self.child is not None and self.child.cancelled:
            return "interrupted", "", 0
        outcome = self.outcome()
        if outcome is None:
            return "", "", 0
        return end_of(outcome), outcome.only.status, outcome.only.attempts


def end_of(outcome: Outcome[Any]) -> str:
    match outcome.result:
        case Success(_):
            return "value"
        case Failure(BodyError()):
            return "error"
        case Failure(TicketCancelled()):
            return "cancelled"
        case Failure(DeadlineExceeded()):
            return "late"
        case Failure(LimitExceeded()):
            return "refused"
    raise AssertionError(outcome.result)


class Bodies:
    """Each ends when its gate is opened, and says that it has begun."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.inside: set[int] = set()
        self.badly: set[int] = set()
        self.gates: dict[int, Gate] = {}
        self.events: dict[int, threading.Event] = {}

    def request(self, kind: str, number: int) -> Request[Any]:
        self.gates[number], self.events[number] = Gate(), threading.Event()
        return Task(getattr(self, kind))(number)

    async def holds(self, number: int) -> int:
        self._enter(number)
        try:
            await self.gates[number].passed()
        finally:
            self.inside.discard(number)
        return self._left(number)

    def blocks(self, number: int) -> int:
        self._enter(number)
        self.events[number].wait(60)
        self.inside.discard(number)
        return self._left(number)

    async def quick(self, number: int) -> int:
        self.begun.append(number)
        return number

    async def fails(self, number: int) -> int:
        self.begun.append(number)
        raise BodyError

    def open(self, number: int, *, well: bool = True) -> None:
        if not well:
            self.badly.add(number)
        self.events[number].set()
        self.gates[number].open()

    def _enter(self, number: int) -> None:
        self.begun.append(number)
        self.inside.add(number)

    def _left(self, number: int) -> int:
        if number in self.badly:
            raise BodyError
        return number


def tasks() -> Any:
    return loop_module_of(sniffio.current_async_library()).tasks()


def kept(thread: threading.Thread) -> bool:
    """Whether it is the loop on which all async functions of thread executors run."""
    return "shared" in thread.name
