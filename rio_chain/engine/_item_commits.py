"""The items of an ``each`` in a run with a journal. An item is done when the record of its last answer is committed.

Its worker does not wait for that, and takes the next item meanwhile: one commit then ends many items, and the calls of
the next ones are already under way.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from rio_chain.engine._current_run import CURRENT
from rio_chain.engine._frames import Fail, OuterExpired
from rio_chain.engine._journal import stopped
from rio_chain.results._outcome import Failed

if TYPE_CHECKING:
    from rio_chain.engine._current_run import Strand
    from rio_chain.engine._item_runner import ItemFlow, ItemRunner, PendingItem
    from rio_chain.engine._journal_protocol import Write
    from rio_chain.engine._runtime_protocol import Waiter

WAITING = 4
"""How many items may wait, for each that runs at once. With fewer, many workers of threads wait in turn, and each such
wait costs two switches between threads.
"""


class ItemCommits:
    """Items whose record is being written, and the strand that ends them.

    Args:
        runner: of the items.
        flow: gets the items when they are done.
        workers: how many strands take items.
    """

    def __init__(self, runner: ItemRunner, flow: ItemFlow, workers: int) -> None:
        self.last = runner.branch.stop - 1  # the instruction that may be the RECORD of the last answer
        self._runner, self._flow = runner, flow
        self._left = [None] * workers  # a token for each worker; a list's pop is atomic
        self._most = WAITING * workers
        self._pending: deque[tuple[PendingItem, Any]] = deque()
        self._waiter: Waiter | None = None

    @property
    def room(self) -> bool:
        """Whether one more item may wait. If not, its worker waits for the commit."""
        return len(self._pending) < self._most

    def begin(self, work: PendingItem, write: Write) -> None:
        """The last answer of an item is being written. Of those that are committed together, one wakes the strand."""
        work.write = write
        write.on_done(self._wake, self)

    def add(self, work: PendingItem, got: Any) -> None:
        """An item has ended, and waits for its commit."""
        self._pending.append((work, got))
        if work.write is not None and work.write.done:
            self._wake()

    def worker_ended(self) -> None:
        """A worker takes no more items."""
        self._left.pop()
        if not self._left:
            self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            waiter.wake()

    async def run(self) -> Failed | None:
        """End the items whose record is committed, until no worker is left. Returns the failure of the whole."""
        runner = self._runner
        own = runner.parent.fork()
        CURRENT.set(own)
        try:
            while not await self._over(own):
                self._waiter = waiter = own.rt.waiter()
                if not (self._ready() or self._ended()):  # it may have changed before there was a waiter
                    await waiter.wait()
        except Exception as exc:  # noqa: BLE001 - from the user's functions
            runner.fail(exc.error if isinstance(exc, Fail) else exc)
        except BaseException as exc:
            runner.race.decided = True
            self._flow.stop()
            if own.slot.settle(exc):  # a timeout around the whole has expired
                raise OuterExpired from None
            raise
        finally:
            own.end()
        if runner.failure is not None:
            self._flow.stop()
        return runner.failure

    async def _over(self, own: Strand) -> bool:
        """End what is committed. Returns whether nothing more will come."""
        own.slot.arm(own.deadline)
        while self._ready():
            work, got = self._pending.popleft()
            if work.write is not None and work.write.error is not None:
                await stopped(own, work.write.error)
            await self._runner.done(own, self._flow, work, got)
        return self._ended()

    def _ready(self) -> bool:
        if not self._pending:
            return False
        write = self._pending[0][0].write
        return write is None or write.done

    def _ended(self) -> bool:
        return not self._left and not self._pending
