"""What a worker process of the cluster does for one client: it runs pieces, and stops them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextvars import Context
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple, cast

from attrs import evolve

from rio_chain._core.pickling import loads, reason_of
from rio_chain._core.unhandled_errors import surely
from rio_chain.chain._pieces import cut
from rio_chain.engine._remote_protocol import PieceAnswer, PieceInput
from rio_chain.engine._serve_piece import serve_piece
from rio_chain.errors import NotPicklable
from rio_chain.executors._asyncio import launch
from rio_chain.executors._running_loop import waiter_here
from rio_chain.executors.dask._messages import answer_bytes

if TYPE_CHECKING:
    from rio_chain.chain._plan import Plan
    from rio_chain.engine._runtime_protocol import Runtime
    from rio_chain.executors._asyncio import OwnAsyncioHost

MOST_PLANS = 1_000
"""That a worker keeps. A plan beyond them is unpickled again, and its shared policies begin anew."""
MOST_STOPPED = 100_000
"""Ids of pieces that were stopped before they had begun."""


class SentPlan(NamedTuple):
    """A plan as it travels."""

    token: str
    data: bytes


class SentCall(NamedTuple):
    """A call of a piece as it travels."""

    id: str
    name: str
    data: bytes


class WorkerService:
    """The pieces of one client that run in this process.

    Args:
        threads: how many sync functions may run at once.
        most: the bytes that an answer may have.
    """

    def __init__(self, threads: int, most: int) -> None:
        self._threads = threads
        self._most = most
        self._host: OwnAsyncioHost | None = None
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._running: dict[str, Callable[[], None]] = {}
        self._stopped: OrderedDict[str, None] = OrderedDict()

    async def run(self, plan: SentPlan, calls: Sequence[SentCall], *, until_failure: bool) -> list[bytes]:
        """Run pieces of a plan one after the other. Called on the loop of the worker; they run on another one.

        ``until_failure``: as for ``Remote.send``. Gives the answers of those that were run.
        """
        if self._host is None:
            self._host = launch(self._threads, self._threads, "rio_chain-dask-shared")
        waiter = waiter_here()
        answers: list[bytes] = []

        async def main() -> None:
            try:
                began = perf_counter()
                for call in calls:
                    ending, data = await self._answer(plan, call, perf_counter() - began)
                    answers.append(data)
                    if until_failure and ending != "value":
                        break
            finally:
                surely(waiter.wake)

        self._host.spawn(main, Context())
        await waiter.wait()
        return answers

    def stop(self, ids: Sequence[str]) -> list[str]:
        """Stop these pieces. Gives those that run; those that have not begun never will."""
        found: list[str] = []
        for one in ids:
            stop = self._running.get(one)
            if stop is not None:
                found.append(one)
                surely(stop)
                continue
            self._stopped[one] = None
            if len(self._stopped) > MOST_STOPPED:
                self._stopped.popitem(last=False)
        return found

    def close(self) -> None:
        """Stop all, and end the loop and its threads."""
        self.stop(list(self._running))
        if self._host is not None:
            self._host.close(wait=False)
        self._plans.clear()

    # --- on the loop of the pieces ----------------------------------------------------------------------------------

    async def _answer(self, sent: SentPlan, call: SentCall, late: float) -> tuple[str, bytes]:
        try:
            plan = self._plan(sent)
            given: PieceInput = loads(call.data)
        except Exception as error:  # noqa: BLE001 - imports of the user's modules may raise anything
            reason = f"a worker can't unpickle it: {reason_of(error)}; what the chain imports must be on the workers"
            answer = PieceAnswer("failed", NotPicklable(call.name, "chain", reason))
            return "failed", answer_bytes(answer, call.name, self._most)
        host = self._host
        assert host is not None  # noqa: S101 - this runs on it
        if late:  # it was behind others in its batch
            given = evolve(given, seconds_left=given.seconds_left - late)
        try:
            answer = await serve_piece(
                cast("Runtime", host.runtime),
                plan,
                given,
                begins=partial(self._begins, call.id),
                loop_ends=host.runtime.ends,
            )
        finally:
            self._running.pop(call.id, None)
        return answer.ending, answer_bytes(answer, call.name, self._most)

    def _begins(self, one: str, stop: Callable[[], None]) -> bool:
        self._running[one] = stop
        return self._stopped.pop(one, self) is self  # it holds None for those

    def _plan(self, sent: SentPlan) -> Plan:
        plan = self._plans.get(sent.token)
        if plan is None:
            plan = self._plans[sent.token] = cut(loads(sent.data))
            if len(self._plans) > MOST_PLANS:
                self._plans.popitem(last=False)
        else:
            self._plans.move_to_end(sent.token)
        return plan
