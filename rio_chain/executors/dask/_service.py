"""What a worker process of the cluster does for one client: it runs pieces, and stops them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextvars import Context
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from rio_chain._core.pickling import loads, reason_of
from rio_chain._core.unhandled_errors import surely
from rio_chain.chain._pieces import cut
from rio_chain.engine._remote_protocol import PieceAnswer, PieceInput
from rio_chain.engine._serve_piece import serve_piece
from rio_chain.errors import NotPicklable
from rio_chain.executors._running_loop import module_named, waiter_here
from rio_chain.executors.dask._messages import HeldAnswer, answer_bytes, held_answer, inputs_of

if TYPE_CHECKING:
    from rio_chain.chain._plan import Plan
    from rio_chain.executors._base import Host
    from rio_chain.executors._spawned_strands import OwningRuntime

MOST_PLANS = 1_000
"""That a worker keeps. A plan beyond them is unpickled again, and its shared policies begin anew."""
MOST_STOPPED = 100_000
"""Ids of pieces that were stopped before they had begun."""
HELD_FROM = 65_536
"""Bytes. A smaller value comes to the client with its answer."""
NAME = "rio_chain-dask-shared"


class SentPlan(NamedTuple):
    """A plan as it travels."""

    token: str
    data: bytes


class SentBatch(NamedTuple):
    """Calls of one piece of a plan as they travel."""

    plan: SentPlan
    names: tuple[str, ...]
    """Of the calls, for errors."""
    inputs: bytes
    waits: bool
    """Whether there is an async function in it, so that it runs on a loop; else it runs on threads."""
    until_failure: bool
    """As for ``Remote.send``."""


def call_id(key: str, number: int) -> str:
    """What a call of the batch with this key is stopped by."""
    return f"{key}/{number}"


class WorkerService:
    """The pieces of one client that run in this process.

    Args:
        threads: how many sync functions may run at once, in async pieces and in others.
        most: the bytes that an answer may have.
        size_of: how many bytes a value takes.
    """

    def __init__(self, threads: int, most: int, size_of: Callable[[object], int]) -> None:
        self._size_of = size_of
        self._threads = threads
        self._most = most
        self._hosts: dict[str, Host] = {}
        self._lock = threading.Lock()  # of what is below: pieces run on several threads
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._running: dict[str, Callable[[], None]] = {}
        self._stopped: OrderedDict[str, None] = OrderedDict()

    async def run(self, key: str, batch: SentBatch, held: Sequence[Any]) -> list[bytes | HeldAnswer]:
        """Run its calls one after the other: the answers of those that were made.

        ``held``: the values in its inputs that were on workers.

        Called on the loop of the worker, which goes on meanwhile: they run on a loop or threads of ours.
        """
        host, waiter = self._host("asyncio" if batch.waits else "thread"), waiter_here()
        answers: list[bytes | HeldAnswer] = []

        async def main() -> None:
            try:
                await self._serve(host, key, batch, (held, answers))
            finally:
                surely(waiter.wake)

        host.spawn(main, Context())
        await waiter.wait()
        return answers

    def stop(self, ids: Sequence[str]) -> list[str]:
        """Stop these calls. Gives those that run; those that have not begun never will."""
        found: dict[str, Callable[[], None]] = {}
        with self._lock:
            for one in ids:
                stop = self._running.get(one)
                if stop is not None:
                    found[one] = stop
                else:
                    self._stopped[one] = None
            while len(self._stopped) > MOST_STOPPED:
                self._stopped.popitem(last=False)
        for stop in found.values():
            surely(stop)
        return list(found)

    def close(self) -> None:
        """Stop all, and end the loop and its threads."""
        self.stop(list(self._running))
        for host in self._hosts.values():
            host.close(wait=False)
        self._plans.clear()

    def _host(self, name: str) -> Host:
        if name not in self._hosts:
            self._hosts[name] = module_named(name).launch(self._threads, self._threads, NAME)
        return self._hosts[name]

    # --- where the pieces run ---------------------------------------------------------------------------------------

    async def _serve(
        self, host: Host, key: str, batch: SentBatch, both: tuple[Sequence[Any], list[bytes | HeldAnswer]]
    ) -> None:
        held, answers = both
        try:
            plan, inputs = self._plan(batch.plan), inputs_of(batch.inputs, held)
        except Exception as error:  # noqa: BLE001 - imports of the user's modules may raise anything
            reason = f"a worker can't unpickle it: {reason_of(error)}; what the chain imports must be on the workers"
            for name in batch.names:
                failed = PieceAnswer("failed", NotPicklable(name, "chain", reason))
                answers.append(answer_bytes(failed, name, self._most))
            return
        began = perf_counter()
        for number, (name, given) in enumerate(zip(batch.names, inputs, strict=True)):
            left = given.seconds_left - (perf_counter() - began)  # it was behind others in its batch
            answer = await self._one(host, plan, given._replace(seconds_left=left), call_id(key, number))
            size = self._size_of(answer.value) if given.holds and answer.ending == "value" else 0
            if size > HELD_FROM:
                answers.append(held_answer(answer, name, self._most, size))
            else:
                answers.append(answer_bytes(answer, name, self._most))
            if batch.until_failure and answer.ending != "value":
                break

    async def _one(self, host: Host, plan: Plan, given: PieceInput, one: str) -> PieceAnswer:
        rt = cast("OwningRuntime", host.runtime)
        try:
            return await serve_piece(rt, plan, given, begins=partial(self._begins, one), loop_ends=rt.ends)
        finally:
            self._running.pop(one, None)

    def _begins(self, one: str, stop: Callable[[], None]) -> bool:
        with self._lock:
            self._running[one] = stop
            return self._stopped.pop(one, self) is self  # it holds None for those

    def _plan(self, sent: SentPlan) -> Plan:
        with self._lock:
            plan = self._plans.get(sent.token)
            if plan is None:
                plan = self._plans[sent.token] = cut(loads(sent.data))
                if len(self._plans) > MOST_PLANS:
                    self._plans.popitem(last=False)
            else:
                self._plans.move_to_end(sent.token)
            return plan
