"""Crew: the bounded daemon workers that serve sync functions for all executors; and a call made on one of them.

A Python thread can't be killed. A call that nobody waits for any more is *given up*: it is counted as abandoned until
it returns, another thread may take its place, and its own thread retires.

Locks here are re-entrant, and nothing is allocated or called while one is held: a finaliser may come back in.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any

from rio_chain.aside import patient
from rio_chain.engine.current import task_in
from rio_chain.engine.report import report
from rio_chain.engine.runtime import Raised, Refused, Waiter
from rio_chain.errors import LimitExceeded

Item = Callable[[], bool]
"""Work for a crew. It handles its own errors and returns True when its thread was given up meanwhile."""

_IDLE = 10.0
"""Seconds after which a worker without work ends."""
_LEAVE, _FINISH = 1.0, 0.1
"""Seconds that ``close`` waits for an idle thread to end, and for one that may be about to finish its item."""


def answer(context: contextvars.Context, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run a sync function in a context of its own; any error comes back as a value."""
    try:
        return context.run(fn, *args, **kwargs)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the run and not to this thread
        return Raised(error)


class LeftCall:
    """A call that was given up and still runs: that of which task."""

    __slots__ = ("task",)

    def __init__(self, context: contextvars.Context) -> None:
        self.task = task_in(context)


class Crew:
    """At most ``threads`` daemon workers for any number of items, in order; a thread starts only when it is needed.

    Args:
        threads: how many work at once, abandoned ones not counted.
        max_abandoned: with that many abandoned calls still running, no further call is to be started.
        name: the threads are called ``{name}-worker-1`` and so on.

    Example:
        >>> crew = Crew(threads=2, max_abandoned=4, name="docs")
        >>> answers = SimpleQueue()
        >>> crew.submit(lambda: bool(answers.put("hello")))
        >>> answers.get()
        'hello'
        >>> crew.close()
    """

    def __init__(self, threads: int, max_abandoned: int, name: str) -> None:
        self.threads = threads
        self.max_abandoned = max_abandoned
        self.name = name
        # Counted in deques: a signal handler that comes back in between the reading and the writing of a number would
        # make us lose what it did, and in the end the last thread.
        self._pending: deque[None] = deque()  # submitted, not finished and not given up
        self._count: deque[None] = deque()  # threads, without those that were given up
        self._abandoned: deque[None] = deque()  # calls given up that still run
        self.left: dict[int, LeftCall] = {}  # the same by the ids of what runs them, for those who ask what they are
        self.permits = Permits(threads)
        self.submitted = 0  # what changes with each item; one of two that come at once may not be counted
        self._closed = False
        self._items: SimpleQueue[Item | None] = SimpleQueue()
        self._left: SimpleQueue[threading.Thread] = SimpleQueue()
        self._lock = threading.RLock()
        self._numbers = count(1)

    @property
    def pending(self) -> int:
        """Items submitted, not finished and not given up."""
        return len(self._pending)

    @property
    def count(self) -> int:
        """Threads, without those that were given up."""
        return len(self._count)

    @property
    def abandoned(self) -> int:
        """Calls given up that still run."""
        return len(self._abandoned)

    @property
    def saturated(self) -> bool:
        """Whether no further call may be started, because it might have to be abandoned as well."""
        return self.abandoned >= self.max_abandoned

    def refusal(self) -> Refused:
        """The answer to a call that was not made because the crew is saturated."""
        calls = f"{self.abandoned} abandoned calls still run (max_abandoned={self.max_abandoned})"
        return Refused(LimitExceeded(f"{calls}; this one was not made"))

    def submit(self, item: Item) -> None:
        """Have an item done. Never blocks; from any thread, also from a finaliser."""
        with self._lock:
            self.submitted += 1
            self._pending.append(None)
            short = self._one_more()
        self._items.put(item)
        if short:
            self._start()

    def give_up(self) -> None:
        """Count a running item as abandoned. Then ``submit`` or ``refill``, so that another thread takes its place.

        To be called where it is decided, under the item's own lock: its thread may return True right after.
        """
        with self._lock:
            self._pending.pop()
            self._count.pop()
            self._abandoned.append(None)

    def left_calls(self) -> list[LeftCall]:
        """The calls that were given up and still run."""
        return list(self.left.values())

    def refill(self) -> None:
        """Start a thread for an item that waits, if there may be one more."""
        with self._lock:
            short = self._one_more()
        if short:
            self._start()

    def reserve(self, waiter: Callable[[], Waiter]) -> Awaitable[None] | None:
        """A thread for one ``pooled_call``: None when one is at hand, else something to wait for, in order."""
        return self.permits.reserve(waiter)

    def close(self, *, wait: bool = True) -> None:
        """End the threads: idle ones now, the others after what they do. What is submitted later still gets done.

        Args:
            wait: for those that end now. A finaliser does not wait.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            threads, idle = self.count, self.count - self.pending
        self._items.put(None)
        with contextlib.suppress(Empty):  # a thread that is late; it ends all the same
            for k in range(threads if wait else 0):
                self._left.get(timeout=_LEAVE if k < idle else _FINISH).join(_LEAVE)

    def __repr__(self) -> str:
        state = f"{self.count}/{self.threads} threads, {self.pending} pending, {self.abandoned} abandoned"
        return f"<Crew {self.name}: {state}>"

    # Whoever comes back in may count between a look and the count that follows from it. So both look once more.

    def _one_more(self) -> bool:
        """Whether one more thread is to be started; it is counted. Under the lock."""
        if self.count >= min(self.pending, self.threads):
            return False
        self._count.append(None)
        if self.count <= self.threads:
            return True
        self._count.pop()
        return False

    def _one_less(self) -> bool:
        """Whether the thread that asks is to end; it is not counted any more. Under the lock."""
        if self.count <= self.pending:
            return False
        self._count.pop()
        return not self._one_more()

    def _start(self) -> None:
        from rio_chain.executors.thread import start_daemon  # noqa: PLC0415 - threads are started there only

        try:
            start_daemon(self._work, f"{self.name}-worker-{next(self._numbers)}")
        except RuntimeError:  # the system has no more threads
            with self._lock:
                self._count.pop()
                alone = self.count == 0
            if alone:
                raise

    def _work(self) -> None:
        get, lock = self._items.get, self._lock
        stays = True
        while stays:
            try:
                item = get(timeout=_IDLE)
            except Empty:
                item = None
            if item is None:
                with lock:
                    stays = not self._one_less()
                continue
            try:
                given_up = item()
            except BaseException as error:  # noqa: BLE001 - a bug in an item must not cost a worker
                report(error)
                given_up = False
            del item  # it may hold a lot, and the next one may be long in coming
            patient(lock)
            try:
                if given_up:
                    self._abandoned.pop()
                    return
                self._pending.pop()
                stays = not (self._closed and self._one_less())
            finally:
                lock.release()
        if self._closed:
            self._left.put(threading.current_thread())
            self._items.put(None)  # for the next idle one


class Job:
    """One call on a worker. It begins, ends, or is given up under its lock, each at most once."""

    __slots__ = ("_call", "_crew", "_lock", "_state", "_waiter", "answer")

    def __init__(self, crew: Crew, waiter: Waiter, call: tuple[Any, ...]) -> None:
        self.answer: Any = None
        self._call = call  # the arguments of `answer`
        self._crew = crew
        self._lock = threading.RLock()
        self._state = "queued"
        self._waiter = waiter

    def __call__(self) -> bool:
        """Make the call, on a worker."""
        with self._lock:
            if self._state != "queued":
                return False
            self._state = "running"
        got = answer(*self._call)
        with self._lock:
            if self._state != "running":
                self._crew.left.pop(id(self), None)
                return True
            self._state = "ended"
            self.answer = got
        self._crew.permits.release()
        self._waiter.wake()
        return False

    def give_up(self) -> None:
        """Nobody waits any more: it never begins, or it is abandoned; one that has ended stays as it is."""
        with self._lock:
            if self._state == "running":
                self._crew.left[id(self)] = LeftCall(self._call[0])
                self._crew.give_up()
            elif self._state != "queued":
                return
            self._state = "given up"
        self._crew.permits.release()
        self._crew.refill()


async def pooled_call(
    crew: Crew,
    waiter_factory: Callable[[], Waiter],
    fn: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Any:
    """``Runtime.call`` for the loops: run ``fn`` on a worker, in a copy of the context of the task that awaits this.

    Gives its value or ``Raised``. It uses up the permit that ``crew.reserve`` gave. Interrupted, it gives the call up
    and raises the interruption.
    """
    if crew.saturated:
        crew.permits.release()
        return crew.refusal()
    waiter = waiter_factory()
    job = Job(crew, waiter, (contextvars.copy_context(), fn, args, kwargs))
    crew.submit(job)
    try:
        await waiter.wait()
    except BaseException:
        job.give_up()
        raise
    return job.answer


class Permits:
    """A number of permits, handed over in the order in which they were asked for, never freed and raced for."""

    def __init__(self, free: int) -> None:
        self.free = free
        self._lock = threading.RLock()
        self._turns: deque[_Turn] = deque()

    def reserve(self, waiter_factory: Callable[[], Waiter]) -> Awaitable[None] | None:
        """Take a permit: None when there was one, else something to wait for."""
        with self._lock:
            if self.free:
                self.free -= 1
                return None
        return self._wait(waiter_factory)

    def release(self) -> None:
        """Hand a permit to the one who has waited longest. From any thread."""
        with self._lock:
            while self._turns:
                turn = self._turns.popleft()
                if turn.state == "waits":
                    turn.state = "has it"
                    break
            else:
                self.free += 1
                return
        turn.waiter.wake()

    async def _wait(self, waiter_factory: Callable[[], Waiter]) -> None:
        turn = _Turn(waiter_factory())
        with self._lock:
            if self.free:  # one came back in between
                self.free -= 1
                return
            self._turns.append(turn)
        try:
            await turn.waiter.wait()
        except BaseException:
            if self._quit(turn):
                self.release()  # it came too late for us
            raise

    def _quit(self, turn: _Turn) -> bool:
        with self._lock:
            had, turn.state = turn.state == "has it", "gone"
            while self._turns and self._turns[0].state == "gone":
                self._turns.popleft()
            return had


class _Turn:
    __slots__ = ("state", "waiter")

    def __init__(self, waiter: Waiter) -> None:
        self.state = "waits"
        self.waiter = waiter
