"""The writer of a journal: one thread, which commits what has gathered since its last commit."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from rio_chain._core.forks import keep_alive
from rio_chain._core.unhandled_errors import surely
from rio_chain._journal_errors import JournalCorrupt, JournalError, JournalFull, JournalReadOnly, LeaseLost
from rio_chain.executors._start_thread import start_daemon

if TYPE_CHECKING:
    from rio_chain.journal._store import Row, Store

IDLE = 1.0
"""Seconds after which the thread ends, if no run goes on."""
FINAL = (JournalCorrupt, JournalFull, JournalReadOnly)
"""Errors that the next attempt would meet as well."""


class Leased(Protocol):
    """A run with a lease, seen by the writer."""

    run_id: str
    number: int
    fence: int

    def lost(self) -> None:
        """Its lease has ended."""


class Job:
    """Something to do in a transaction. It is a ``Write`` of the engine."""

    __slots__ = ("_left", "_others", "_submit", "_wake", "done", "error", "home")

    def __init__(self, submit: Callable[[Job, bool], None]) -> None:
        self._submit = submit
        self._wake: Callable[[], None] | None = None
        self._others: list[Job] = NO_JOBS
        self._left = False  # no strand waits for it any more
        self.home: object = None
        self.done = False
        self.error: Exception | None = None

    def on_done(self, wake: Callable[[], None], home: object) -> None:
        """As ``Write.on_done``: it goes to the thread."""
        self._wake, self.home = wake, home
        self._submit(self, False)  # noqa: FBT003

    def wake_others(self) -> None:
        """As ``Write.wake_others``."""
        self._left = True
        others, self._others = self._others, NO_JOBS
        for other in others:
            other.wake()

    def finish(self) -> None:
        """As ``Write.finish``."""
        self._submit(self, True)  # noqa: FBT003

    def apply(self, transaction: Transaction) -> None:
        """Do it. A ``JournalError`` is the error of this job alone, and must be raised before anything is written."""
        raise NotImplementedError

    def wake_with(self, others: list[Job]) -> None:
        """Wake the strand that waits for it. That one wakes the others."""
        self._others = others
        self.wake()
        if self._left:  # it was interrupted, perhaps before it could see them
            self.wake_others()

    def wake(self) -> None:
        """Wake the strand that waits for it, if one does."""
        wake, self._wake = self._wake, None
        if wake is not None:
            surely(wake)


class Call(Job):
    """Calls a function with the store."""

    __slots__ = ("_fn", "value")

    def __init__(self, submit: Callable[[Job, bool], None], fn: Callable[[Transaction], Any]) -> None:
        super().__init__(submit)
        self._fn = fn
        self.value: Any = None

    def apply(self, transaction: Transaction) -> None:
        """As ``Job.apply``."""
        transaction.flush()
        self.value = self._fn(transaction)


NO_JOBS: list[Job] = []


class Put(Job):
    """Writes records of one run."""

    __slots__ = ("dropped", "leased", "rows")

    def __init__(
        self, submit: Callable[[Job, bool], None], leased: Leased, rows: list[Row], dropped: tuple[str, ...] = ()
    ) -> None:
        self._submit = submit  # not by the other __init__, as there is one for each record
        self._wake = self.home = self.error = None
        self._others = NO_JOBS
        self._left = self.done = False
        self.leased, self.rows, self.dropped = leased, rows, dropped

    def apply(self, transaction: Transaction) -> None:
        """As ``Job.apply``."""
        transaction.check(self.leased)
        number = self.leased.number
        if self.dropped:
            transaction.flush()
            transaction.store.drop_records(number, self.dropped)
        transaction.rows.setdefault(number, []).extend(self.rows)


class Transaction:
    """One transaction: leases are checked once, and records are written together."""

    def __init__(self, store: Store, lease: float) -> None:
        self.store = store
        self.lease = lease
        self.rows: dict[int, list[Row]] = {}
        self.began = time.monotonic()
        self.now = store.now()
        self._checked: dict[int, int] = {}

    def check(self, leased: Leased) -> None:
        """Renew the lease of a run.

        Raises:
            LeaseLost: it has ended, or another process has a later one.
        """
        if self._checked.get(leased.number) == leased.fence:
            return
        fence, until = self.store.lease(leased.number)
        if fence != leased.fence or until < self.now:
            raise LeaseLost(leased.run_id)
        if until - self.now < self.lease * 2 / 3:
            self.store.renew(leased.number, self.now + self.lease)
        self._checked[leased.number] = fence

    def flush(self) -> None:
        """Write the records that were gathered."""
        rows, self.rows = self.rows, {}
        for number, some in rows.items():
            self.store.put_records(number, some)

    def forget_leases(self) -> None:
        """They were changed."""
        self._checked.clear()


def _wake(jobs: list[Job]) -> None:
    """Wake one strand of each home; it wakes the others there."""
    groups: dict[int, list[Job]] = {}
    for job in jobs:
        if job.home is not None:
            groups.setdefault(id(job.home), []).append(job)
    for first, *others in groups.values():
        first.wake_with(others)


class Writer:
    """Does jobs in their order, many in one transaction.

    Args:
        store: where it writes.
        lease: seconds for which a lease is given.
        name: of the thread.
    """

    def __init__(self, store: Store, lease: float, name: str) -> None:
        self.store = store
        self.lease = lease
        self._name = name
        self._renewed()

    def _renewed(self) -> None:
        """What a forked child makes anew."""
        self._pid = os.getpid()
        self._jobs: deque[Job] = deque()
        self._change = threading.Condition(threading.Lock())
        self._writing = threading.RLock()  # the store is used by one thread at a time
        self._thread: threading.Thread | None = None
        self._closed = False
        self._idle = True  # the thread waits, or there is none
        self.active: dict[int, Leased] = {}
        self._renew_at = 0.0

    def submit(self, job: Job, now: bool = False) -> None:  # noqa: FBT001, FBT002 - called for each record
        """Do a job, on the thread, or (``now``) in the caller's thread, after all that were submitted before it."""
        self._own()
        self._jobs.append(job)
        if now:
            while not job.done:
                self._write()
            return
        if self._idle:  # read after the append: the thread sets it first and looks for jobs second
            with self._change:
                if self._thread is None:
                    self._thread = start_daemon(self._main, self._name)
                self._idle = False
                self._change.notify()

    def call(self, fn: Callable[[Transaction], Any]) -> Any:
        """Call a function in a transaction, and wait for it. Returns its value, or raises its error."""
        job = Call(self.submit, fn)
        job.finish()
        if job.error is not None:
            raise job.error
        return job.value

    def _own(self) -> None:
        """In a forked child: leave the connection and the locks to the parent."""
        if self._pid != os.getpid():
            keep_alive((self.store.abandon(), self._change, self._writing, self._jobs))
            self._renewed()

    def read(self, fn: Callable[[Store], Any]) -> Any:
        """Call a function that only reads, after all that was submitted before it."""
        self._own()
        while self._jobs:
            self._write()
        with self._writing:
            self.store.begin(write=False)
            try:
                return fn(self.store)
            finally:
                self.store.rollback()

    def _main(self) -> None:
        while self._wait():
            self._write()

    def _wait(self) -> bool:
        """Wait for work. Returns False when the thread is no longer needed."""
        with self._change:
            self._idle = True
            while not self._jobs:
                if self._closed:
                    self._thread = None
                    return False
                seconds = min(max(0.0, self._renew_at - time.monotonic()), IDLE) if self.active else IDLE
                if not self._change.wait(seconds) and not self._jobs:
                    if self.active:
                        break
                    self._thread = None
                    return False
            self._idle = False
        return True

    def _write(self) -> None:
        """Do all jobs that wait, and renew the leases if it is time."""
        with self._writing:
            jobs: list[Job] = []
            while self._jobs:
                jobs.append(self._jobs.popleft())
            self._do(jobs)
            if self.active and time.monotonic() >= self._renew_at:
                self._renew_at = time.monotonic() + self.lease / 3
                self._renew()

    def _do(self, jobs: list[Job]) -> None:
        if not jobs:
            return
        ended: list[tuple[Job, Exception | None]] | None = None
        try:
            while ended is None:
                ended = self._transact(jobs)
        except BaseException as error:  # noqa: BLE001 - those who wait for the jobs get it
            self.store.rollback()
            if len(jobs) > 1 and not isinstance(error, FINAL):
                for job in jobs:  # one of them may be to blame
                    self._do([job])
                return
            failed = error if isinstance(error, Exception) else JournalError(f"the writer was interrupted: {error!r}")
            ended = [(job, failed) for job in jobs]
        for job, why in ended:
            job.error, job.done = why, True
        _wake([job for job, _ in ended])

    def _transact(self, jobs: list[Job]) -> list[tuple[Job, Exception | None]] | None:
        """Do the jobs in one transaction. Returns them with their errors, or None if it has to be repeated."""
        ended: list[tuple[Job, Exception | None]] = []
        self.store.begin()
        transaction = Transaction(self.store, self.lease)
        for job in jobs:
            try:
                job.apply(transaction)
            except JournalError as error:
                if isinstance(error, FINAL) or type(error) is JournalError:
                    raise
                ended.append((job, error))
            else:
                ended.append((job, None))
        transaction.flush()
        if time.monotonic() - transaction.began > self.lease / 3:  # it was held up, and its leases may have ended
            self.store.rollback()
            return None
        self.store.commit()
        return ended

    def _renew(self) -> None:
        lost: list[Leased] = []

        def renew(transaction: Transaction) -> None:
            for leased in list(self.active.values()):
                try:
                    transaction.check(leased)
                except LeaseLost:
                    lost.append(leased)

        self._do([Call(self.submit, renew)])
        for leased in lost:
            self.active.pop(leased.number, None)
            surely(leased.lost)

    def begun(self, leased: Leased) -> None:
        """Renew the lease of this run until ``ended``."""
        if not self.active:
            self._renew_at = time.monotonic() + self.lease / 3
        self.active[leased.number] = leased

    def ended(self, leased: Leased) -> None:
        """The run has ended."""
        if self.active.get(leased.number) is leased:
            del self.active[leased.number]

    def close(self) -> None:
        """Do what is left, end the thread, and close the store."""
        if self._pid != os.getpid():
            return
        with self._change:
            self._closed = True
            self._change.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._write()
        with self._writing:
            self.store.close()
        self._closed = False
