"""Pieces of a plan without a cluster: each is pickled, runs beside the client on the same loop, and comes back pickled.

So what the client and a worker make of a chain can be compared with one process, also in virtual time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any

from rio_chain import Plan
from rio_chain._core.pickling import loads
from rio_chain.chain._pieces import cut
from rio_chain.engine._remote_protocol import Held, PieceAnswer, PieceCall
from rio_chain.engine._serve_piece import serve_piece
from rio_chain.executors import runtime_here
from rio_chain.executors.dask._messages import answer_bytes, answer_of, held_answer, inputs_bytes, inputs_of, plan_bytes
from rio_chain.executors.dask._plans import CutPlans

MOST = 10_000_000


class Loopback:
    """``Remote`` on the loop of the client."""

    def __init__(self) -> None:
        self.rt: Any = runtime_here()
        self.slots = 2
        self.tasks: set[asyncio.Task[None]] = set()
        self.stops: dict[int, Callable[[], None]] = {}
        self.sent = self.held = 0
        self.holds = False  # whether each value stays there that may, and not large ones alone

    def check(self, plan: Plan) -> None:
        """Nothing is refused."""

    def send(self, calls: Sequence[PieceCall], *, until_failure: bool = False) -> None:
        self.sent += len(calls)
        task = asyncio.Task(self._run(calls, until_failure=until_failure), context=copy_context())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def cancel(self, call: PieceCall) -> None:
        if id(call) in self.stops:
            self.stops[id(call)]()
        elif call.answer is None:
            call.answer = PieceAnswer("stopped")
            call.wake()

    async def _run(self, calls: Sequence[PieceCall], *, until_failure: bool) -> None:
        over = False
        for call in calls:
            answer = PieceAnswer("stopped") if over else await self._one(call)
            over = over or (until_failure and answer.ending != "value")
            if call.answer is None:
                call.answer = answer
                call.wake()

    async def _one(self, call: PieceCall) -> PieceAnswer:
        plan = cut(loads(plan_bytes(call.plan)))
        keepers = dict[int, Any]()
        data = inputs_bytes([call.given], MOST, keepers)
        (given,) = inputs_of(data, list(keepers.values()))

        def begins(stop: Callable[[], None]) -> bool:
            self.stops[id(call)] = stop
            return call.answer is None

        answer = await serve_piece(self.rt, plan, given, begins=begins, loop_ends=lambda _: False)
        del self.stops[id(call)]
        if not (self.holds and given.holds and answer.ending == "value"):
            return answer_of(answer_bytes(answer, call.name, MOST))
        kept = held_answer(answer, call.name, MOST, 1)
        here = answer_of(kept.data)
        here.value = Held(kept.value, here.value)
        self.held += 1
        return here


@contextmanager
def cut_here(*, holds: bool = False) -> Iterator[Loopback]:
    """Chains that are awaited on this loop are cut, and their pieces go this way."""
    remote = Loopback()
    remote.holds = holds
    remote.rt.policies, remote.rt.remote = CutPlans(), remote
    try:
        yield remote
    finally:
        remote.rt.policies = remote.rt.remote = None
