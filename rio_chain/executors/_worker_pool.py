"""WorkerPool: the bounded daemon workers that make sync calls for all executors.

Its locks are re-entrant, and nothing is allocated or called while one is held: a finaliser may re-enter.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any

from rio_chain._core.deferring_lock import acquire_by_polling
from rio_chain._core.forks import after_fork
from rio_chain._core.unhandled_errors import report_unhandled, surely
from rio_chain.engine._runtime_protocol import Refused, Waiter
from rio_chain.executors._abandoned_threads import AbandonedCall, AbandonedThreads
from rio_chain.executors._start_thread import start_daemon
from rio_chain.executors._thread_permits import ThreadPermits
from rio_chain.executors._worker_call import refuse_all

WorkItem = Callable[[], bool]
"""Work for a pool. It handles its own errors and returns True if its thread was given up meanwhile."""

_IDLE = 10.0
"""Seconds after which a worker without work ends."""
_LEAVE, _FINISH = 1.0, 0.1
"""Seconds that ``close`` waits for an idle thread to end, and for one that may be about to finish its item."""


class WorkerPool:  # also a ``ThreadPool``
    """At most ``threads`` daemon workers for any number of items, in order. A thread starts only if it is needed.

    Starting a thread may fail. If there is another worker, the items wait for it. If there is none, ``submit`` raises
    and takes its item back, and all other waiting items go to ``unserved``.

    Args:
        threads: how many work at once, without abandoned ones.
        max_abandoned: while this many abandoned calls still run, no further call may start.
        name: the threads are called ``{name}-worker-1`` and so on.

    Example:
        >>> pool = WorkerPool(threads=2, max_abandoned=4, name="docs")
        >>> answers = SimpleQueue()
        >>> pool.submit(lambda: bool(answers.put("hello")))
        >>> answers.get()
        'hello'
        >>> pool.close()
    """

    def __init__(self, threads: int, max_abandoned: int, name: str) -> None:
        self.threads = threads
        self.max_abandoned = max_abandoned
        self.name = name
        # Counts are sizes of dicts. An interruption can come between any two statements. What it left half done is then
        # undone by key, and undoing it twice changes nothing.
        self._pending: dict[WorkItem, _Worker | None] = {}  # neither finished nor given up; None: waits for a worker
        self._workers: dict[_Worker, None] = {}  # threads that were not given up or detached
        self._starting: dict[_Worker, None] = {}  # workers whose thread has not begun
        self._abandoned = AbandonedThreads(max_abandoned)
        self.detached_calls: dict[Any, None] = {}  # as ``ThreadPool.detached_calls``
        self.permits = ThreadPermits(threads)
        self.unserved: Callable[[list[WorkItem], BaseException], None] = refuse_all
        self.wanted: Callable[[], object] = list  # whether the owner has items that wait for a thread
        self.submitted = 0  # changes with each item; of two at once one may be missed
        self._closed = False
        self._items: SimpleQueue[WorkItem | None] = SimpleQueue()
        self._left: SimpleQueue[threading.Thread] = SimpleQueue()
        self._lock = threading.RLock()
        self._numbers = count(1)
        self.forked = False  # in a forked child, where it has no threads
        after_fork(self._renew)

    @property
    def pending(self) -> int:
        """Items submitted, not finished and not given up."""
        return len(self._pending)

    @property
    def busy(self) -> bool:
        """Whether an item, or a call on a detached thread, waits or runs."""
        return bool(self._pending or self.detached_calls)

    @property
    def count(self) -> int:
        """The number of threads that were not given up or detached."""
        return len(self._workers)

    @property
    def abandoned(self) -> int:
        """Calls given up that still run."""
        return len(self._abandoned.calls)

    @property
    def saturated(self) -> bool:
        """Whether no further call may start, because it might have to be abandoned as well."""
        return len(self._abandoned.calls) >= self.max_abandoned

    def count_abandoned_of(self, before: WorkerPool) -> None:
        """Also count the abandoned calls of an older pool that still run. Call it before anything is submitted."""
        self._abandoned = before._abandoned

    def refusal(self) -> Refused:
        """The answer to a call that was not made because the pool is saturated."""
        return self._abandoned.refusal()

    def submit(self, item: WorkItem) -> None:
        """Have an item done. Never blocks; from any thread, also from a finaliser.

        Raises:
            RuntimeError: there is no thread and none can be started. The item will not be done.
        """
        worker: _Worker | None = None
        try:
            with self._lock:
                self.submitted += 1
                self._pending[item] = None
                if len(self._workers) < min(len(self._pending), self.threads):
                    worker = _Worker()
                    worker = worker if self._one_more(worker) else None
            self._items.put(item)
            if worker is not None:
                self._start(worker, item)
        except BaseException:
            if worker is not None:
                self._disown(worker)
            self.withdraw(item)
            raise

    def withdraw(self, item: WorkItem) -> None:
        """Never begin an item that waits for a worker. An item that has begun continues."""
        with self._lock:
            if self._pending.get(item, self) is None:
                del self._pending[item]

    def queued(self, item: WorkItem) -> bool:
        """Whether an item waits for a worker."""
        return self._pending.get(item, self) is None and not self._items.empty()

    def look(self) -> None:
        """Replace threads that have died and are still counted."""
        with self._lock:
            for worker in [
                worker for worker in self._workers if worker.thread is not None and not worker.thread.is_alive()
            ]:
                del self._workers[worker]
        self.refill()

    def give_up(self, item: WorkItem, context: contextvars.Context | None = None) -> None:
        """Count a running item as abandoned. Then ``submit`` or ``refill``, so that another thread replaces its own.

        Call it under the item's own lock, where that is decided: its thread may return True right after. The
        ``context`` is that of the call, and has the name of its task.
        """
        with self._lock:
            worker = self._pending.get(item)
            if worker is not None:
                self._abandoned.add(worker, context)  # first, as an error here leaves everything unchanged
                self._pending.pop(item, None)
                self._workers.pop(worker, None)

    def detach(self, item: WorkItem) -> _Worker | None:
        """The thread of a running item leaves the pool, and does not count until the item returns True.

        Then ``submit`` or ``refill``, so that another thread replaces it.
        """
        with self._lock:
            worker = self._pending.pop(item, None)
            if worker is not None:
                self._workers.pop(worker, None)
        return worker

    def abandon_detached(self, worker: _Worker | None, context: contextvars.Context) -> None:
        """As ``ThreadPool.abandon_detached``: a thread that was detached is stuck. It may return right after."""
        if worker is not None:
            with self._lock:
                self._abandoned.add(worker, context)

    def left_calls(self) -> list[AbandonedCall]:
        """The calls that were given up and still run."""
        return list(self._abandoned.calls.values())

    def refill(self) -> None:
        """Start a thread for a waiting item, if another one is allowed."""
        worker = _Worker()
        try:
            with self._lock:
                short = self._one_more(worker)
            if short:
                self._start(worker)
        except BaseException as error:
            self._disown(worker)
            if not isinstance(error, (RuntimeError, MemoryError)):  # else what waited has been handed to `unserved`
                raise

    def reserve(self, waiter: Callable[[], Waiter]) -> Awaitable[None] | None:
        """Take a permit for one ``pooled_call``: None if there is one, else an awaitable to wait for one, in order."""
        return self.permits.reserve(waiter)

    def close(self, *, wait: bool = True) -> None:
        """End the threads: idle ones now, the others after their item. Items that are submitted later are still done.

        Args:
            wait: wait for those that end now. A finaliser does not wait.
        """
        with self._lock:
            if self._closed:
                return
            self._closed = True
            threads, idle = self.count, self.count - self.pending
        self._items.put(None)
        with contextlib.suppress(Empty):  # a thread is late; it ends anyway
            for k in range(threads if wait else 0):
                self._left.get(timeout=_LEAVE if k < idle else _FINISH).join(_LEAVE)

    def _renew(self) -> None:
        self.forked = True

    def __repr__(self) -> str:
        state = f"{self.count}/{self.threads} threads, {self.pending} pending, {self.abandoned} abandoned"
        return f"<WorkerPool {self.name}: {state}>"

    # A re-entrant call may count between a check and the count that follows from it. So both methods check again.

    def _one_more(self, worker: _Worker) -> bool:
        """Whether to start a thread for this worker, which is then counted. Under the lock."""
        if self.count >= min(self.pending, self.threads):
            return False
        self._starting[worker] = None
        self._workers[worker] = None
        if self.count <= self.threads:
            return True
        self._disown(worker)
        return False

    def _one_less(self, worker: _Worker) -> bool:
        """Whether the thread of this worker must end; then it is not counted any more. Under the lock."""
        if self.count <= self.pending:
            return False
        self._workers.pop(worker, None)
        return not self._sits_again(worker)

    # --- threads ----------------------------------------------------------------------------------------------

    def _start(self, worker: _Worker, item: WorkItem | None = None) -> None:
        """Start the thread of a worker, for an item. Raises if that fails and there is no other thread."""
        try:
            start_daemon(partial(self._work, worker), f"{self.name}-worker-{next(self._numbers)}")
        except BaseException as error:
            cannot_start = self._disown(worker) and isinstance(error, (RuntimeError, MemoryError))
            with self._lock:
                alone = self.count == 0
                others = [other for other in self._take_back() if other != item] if alone else []
            if others:
                self.unserved(others, error)
            if not alone and cannot_start:
                return  # the other threads will do the item
            raise

    def _disown(self, worker: _Worker) -> bool:
        """The thread of a worker does not begin. Returns False if it has begun, or was not to start."""
        if self._starting.pop(worker, self) is self:
            return False
        self._workers.pop(worker, None)
        return True

    def _take_back(self) -> list[WorkItem]:
        """Take back all waiting items, as no thread can do them. Under the lock."""
        items = [item for item, worker in self._pending.items() if worker is None]
        for item in items:
            del self._pending[item]
        return items

    def _work(self, worker: _Worker) -> None:
        if self._starting.pop(worker, self) is self:
            return  # the call that started this thread was interrupted, and does not count it
        worker.thread = threading.current_thread()
        while True:
            try:
                self._serve(worker)
            except BaseException as error:  # noqa: BLE001 - a system error outside of any item
                report_unhandled(error)
                if surely(partial(self._survives, worker, error)):
                    continue
            break
        if self._closed:
            self._left.put(threading.current_thread())
            self._items.put(None)  # for the next idle one

    def _survives(self, worker: _Worker, error: BaseException) -> bool:
        """The thread of a worker met an error of its own. It goes on with the next item; another one does this item."""
        with self._lock:
            item, worker.item = worker.item, None
            lost = item is not None and self._pending.get(item, self) in (None, worker)
            if item is not None and lost:
                del self._pending[item]
            goes_on = not self._abandoned.remove(worker) or self._stays(worker)
        if item is not None and lost:
            surely(partial(self.unserved, [item], error))
        return goes_on

    def _stays(self, worker: _Worker) -> bool:
        """Whether a thread whose call was abandoned is needed again. Under the lock."""
        if self._closed:
            return False
        if self.count < self.threads and self.wanted():
            self._workers[worker] = None
            return True
        return self._sits_again(worker)

    def _sits_again(self, worker: _Worker) -> bool:
        """Count a thread again that was not counted, if one more is needed. Under the lock."""
        needed = self._one_more(worker)
        self._starting.pop(worker, None)
        return needed

    def _serve(self, worker: _Worker) -> None:
        """Do one item after the other, until this thread must end."""
        get = self._items.get
        stays = True
        while stays:
            try:
                item = get(timeout=_IDLE)
            except Empty:
                item = None
            worker.item = item
            if not self._takes(item, worker):
                stays = worker in self._workers
            elif item is not None:
                try:
                    given_up = item()
                except BaseException as error:  # noqa: BLE001 - an error of an item must not cost a worker
                    report_unhandled(error)
                    given_up = worker in self._abandoned.calls
                    if not given_up:
                        surely(partial(self.unserved, [item], error))  # it may not have begun
                stays = self._done(item, worker, given_up=given_up)
            worker.item = item = None  # it may hold much memory, and the next item may take long to come

    def _takes(self, item: WorkItem | None, worker: _Worker) -> bool:
        """Whether the thread of this worker does this item. With None it may be that the thread must end."""
        lock = self._lock
        acquire_by_polling(lock)
        try:
            if item is None:
                self._one_less(worker)
                return False
            if self._pending.get(item, worker) is not None:
                return False  # it was withdrawn
            self._pending[item] = worker
            return True
        finally:
            lock.release()

    def _done(self, item: WorkItem, worker: _Worker, *, given_up: bool) -> bool:
        """An item has ended. Gives whether the thread stays for the next one."""
        lock = self._lock
        acquire_by_polling(lock)
        try:
            if given_up:
                self._abandoned.remove(worker)
                return self._stays(worker)
            if self._pending.get(item) is worker:  # false if it was parked, woken, and waits here again
                del self._pending[item]
            return not (self._closed and self._one_less(worker))
        finally:
            lock.release()


class _Worker:
    """One thread of the pool."""

    __slots__ = ("item", "thread")

    def __init__(self) -> None:
        self.item: WorkItem | None = None  # the item that its thread has taken
        self.thread: threading.Thread | None = None  # set when it has begun
