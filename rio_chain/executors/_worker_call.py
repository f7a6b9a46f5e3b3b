"""One call of a sync function on a worker, while a task of a loop waits for it."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rio_chain._core.unhandled_errors import surely
from rio_chain.engine._runtime_protocol import Raised, Refused, Waiter, answer
from rio_chain.engine._thread_bound_values import Pinned, PinnedThread

if TYPE_CHECKING:
    from rio_chain.executors._worker_pool import WorkerPool, WorkItem


def refuse_all(items: list[WorkItem], error: BaseException) -> None:
    """Refuse items that no worker can do. Used by a pool of ``WorkerCall`` items."""
    for item in items:
        if isinstance(item, WorkerCall):
            item.refuse(error)


class WorkerCall:
    """One call on a worker. Under its lock it begins, ends, or is given up, each at most once."""

    __slots__ = ("_call", "_lock", "_pool", "_state", "_waiter", "answer")

    def __init__(self, pool: WorkerPool, waiter: Waiter, call: tuple[Any, ...]) -> None:
        self.answer: Any = None
        self._call = call  # the arguments for `answer`
        self._pool = pool
        self._lock = threading.RLock()
        self._state = "queued"
        self._waiter = waiter

    def __call__(self) -> bool:
        """Make the call, on a worker."""
        with self._lock:
            if self._state != "queued":
                return False
            self._state = "running"
        got: list[Any] = [answer(*self._call)]  # no variable may keep a ``Pinned`` while its thread serves it
        if type(got[0]) is Pinned:
            thread = self._detached(got.pop())
            if thread is not None:
                thread.serve()
            return True
        with self._lock:
            if self._state != "running":
                return True
            self._state = "ended"
            self.answer = got.pop()
        surely(self._over)
        return False

    def _detached(self, pinned: Pinned) -> PinnedThread | None:
        """Answer with a value that needs this thread. Returns None if the call was abandoned."""
        with self._lock:
            if self._state != "running":
                return None
            thread = pinned.detach(self._call[0], self._pool, self._pool.detach(self))
            self._state = "ended"
            self.answer = pinned
        surely(self._over)
        surely(self._pool.refill)
        return thread

    def take(self) -> Any:
        """Give the answer, and do not keep it here."""
        got, self.answer = self.answer, None
        return got

    def refuse(self, error: BaseException) -> None:
        """No thread is available, so it is not made; or its thread met a system error."""
        with self._lock:
            if self._state not in ("queued", "running"):
                return
            self.answer = Refused(error) if self._state == "queued" else Raised(error)
            self._state = "ended"
        surely(self._over)

    def _over(self) -> None:
        """It is answered."""
        surely(self._pool.permits.release)
        surely(self._waiter.wake)

    def give_up(self) -> bool:
        """Stop waiting for it: it never begins, or it is abandoned (True). If it has ended, nothing changes."""
        with self._lock:
            running = self._state == "running"
            if not running and self._state != "queued":
                return False
            self._state = "given up"
            if running:
                surely(partial(self._pool.give_up, self, self._call[0]))
            else:
                surely(partial(self._pool.withdraw, self))
        surely(self._pool.permits.release)
        self._pool.refill()
        return running


async def pooled_call(
    pool: WorkerPool,
    waiter_factory: Callable[[], Waiter],
    fn: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Any:
    """``Runtime.call`` for loops: run ``fn`` on a worker, in a copy of the context of the task that awaits this.

    Gives its value or ``Raised``. It uses the permit that ``pool.reserve`` gave. If it is interrupted, it gives the
    call up and raises the interruption.
    """
    if pool.saturated:
        surely(pool.permits.release)
        return pool.refusal()
    job = None
    try:
        waiter = waiter_factory()
        job = WorkerCall(pool, waiter, (contextvars.copy_context(), fn, args, kwargs))
        pool.submit(job)
    except BaseException as error:
        if job is None:
            surely(pool.permits.release)
        elif job.give_up():
            raise
        if isinstance(error, (RuntimeError, MemoryError)):  # no thread can be started, and none is there
            return Refused(error)
        raise
    try:
        await waiter.wait()
    except BaseException:
        job.give_up()
        job.take()
        raise
    return job.take()
