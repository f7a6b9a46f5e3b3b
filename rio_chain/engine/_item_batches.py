"""Items that run elsewhere, on the workers of a cluster: many of them travel together.

A message takes as long for a hundred small items as for one. A batch runs its items one after the other, so an
``each`` with a limit has at most so many items running as it has batches under way.
"""

from __future__ import annotations

from typing import Any

from rio_chain.engine._current_run import CURRENT, Run, Strand
from rio_chain.engine._frames import Frame, NestedFail, RunPart
from rio_chain.engine._instructions import PIECE, ItemsOp, Op, PieceOp
from rio_chain.engine._item_runner import ItemFlow, ItemRunner, PendingItem
from rio_chain.engine._pieces import ending_of, piece_call, take_over
from rio_chain.engine._remote_protocol import PieceAnswer, PieceCall, Remote
from rio_chain.engine._runtime_protocol import Waiter
from rio_chain.results._outcome import Failed

LEAST_SECONDS, MOST_SECONDS = 0.02, 0.25
"""What the items of a batch should take together. A shorter one costs more than it computes."""
MOST_ITEMS = 1_000
SHARES = 4
"""Batches for each slot of the cluster, at least, so that no slot waits long for the last one."""


def item_runner(strand: Strand, op: ItemsOp, frames: list[Frame], part: RunPart, ops: tuple[Op, ...]) -> ItemRunner:
    """What runs the items of an EACH or EXPAND."""
    branch, remote = op.branch, strand.rt.remote
    inner = ops[branch.start]
    if remote is not None and branch.stop - branch.start == 1 and inner[0] == PIECE:
        return _BatchRunner(strand, op, frames, part, PieceOp._make(inner), remote)
    return ItemRunner(strand, op, frames, part)


class _BatchRunner(ItemRunner):
    """Every item is one piece, and nothing is around it here."""

    def __init__(  # noqa: PLR0917 - two more than its base has
        self, strand: Strand, op: ItemsOp, frames: list[Frame], part: RunPart, piece: PieceOp, remote: Remote
    ) -> None:
        super().__init__(strand, op, frames, part)
        self.piece = piece
        self.remote = remote
        self.begun = 0
        self.seconds = self.measured = 0.0  # of the items that have ended, and how many those are

    async def one(self, own: Strand, flow: ItemFlow, work: PendingItem) -> None:
        """As ``ItemRunner.one``: this and those that are ready go together."""
        works, most = [work], self._size()
        while len(works) < most and (more := flow.more(own)) is not None:
            works.append(more)
        self.begun += len(works)
        strands = [self._strand_of(own, one) for one in works]
        runs = [strand.run for strand in strands]
        sent, waiter = own.rt.now(), own.rt.waiter()
        batch = _Batch(waiter)
        batch.calls = [
            piece_call(strand, self.piece, one.item, batch.answered) for strand, one in zip(strands, works, strict=True)
        ]
        self.remote.send(batch.calls, until_failure=self.ends_at_failure)
        try:
            await waiter.wait()
        except GeneratorExit:
            batch.cancel(self.remote)
            raise
        except BaseException:
            batch.cancel(self.remote)
            await waiter.wait_shielded()
            for one, run, strand, call in zip(works, runs, strands, batch.calls, strict=True):
                self._take(strand, call, sent)
                self.note(one, run.log)
            raise
        for one, run, strand, call in zip(works, runs, strands, batch.calls, strict=True):
            if call.answer is not None and call.answer.ending == "stopped" and self.failure is not None:
                continue  # one before it has failed, and it was not run
            answer = self._take(strand, call, sent)
            await self.ended(own, flow, one, run, await self._got(own, run, one, answer))

    def _size(self) -> int:
        """How many items the next batch may have. With a time limit one: each answer counts from when it has come."""
        if not self.measured or self.time_limit is not None:
            return 1
        each = max(self.seconds / self.measured, 1e-9)
        most = int(MOST_SECONDS / each)
        if self.expected is not None:
            shares = SHARES * min(self.remote.slots, self.op.node.limit)
            least = min(int(LEAST_SECONDS / each), self.expected // shares)  # at the end, when not much is left
            most = min(most, max((self.expected - self.begun) // shares, least))
        return max(1, min(most, MOST_ITEMS))

    def _strand_of(self, own: Strand, work: PendingItem) -> Strand:
        """In the place of the one that would run it here, with a run of its own."""
        run = self.parent.run.part(item=work.number)
        run.step = work
        return own.beside(run)

    def _take(self, strand: Strand, call: PieceCall, sent: float) -> PieceAnswer:
        token = CURRENT.set(strand)
        try:
            answer = take_over(strand, self.piece, call, sent)
        finally:
            CURRENT.reset(token)
            strand.close()
        if answer.ending in ("value", "failed"):
            self.seconds += answer.times[1] - answer.times[0]
            self.measured += 1
        return answer

    async def _got(self, own: Strand, run: Run, work: PendingItem, answer: PieceAnswer) -> Any:
        try:
            return await ending_of(own, answer)
        except NestedFail as failed:
            return Failed(failed.error)
        except BaseException:
            self.note(work, run.log)
            raise


class _Batch:
    """Calls that are under way together."""

    def __init__(self, waiter: Waiter) -> None:
        self.calls: list[PieceCall] = []
        self._waiter = waiter
        self._answers = 0

    def answered(self) -> None:
        """One more has its answer."""
        self._answers += 1
        if self._answers == len(self.calls):
            self._waiter.wake()

    def cancel(self, remote: Remote) -> None:
        """Stop those that have none."""
        for call in self.calls:
            if call.answer is None:
                remote.cancel(call)
