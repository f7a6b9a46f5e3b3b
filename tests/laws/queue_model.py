"""An ideal priority queue with k servers, as an event list; and the same load put on a balancer, in virtual time.

The model shares nothing with the balancer. Its times are whole numbers of ticks, and a tick is a power of two of a
second, so a loop that adds floats comes to exactly the same instants.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import sniffio
import trio
import trio.testing

from rio_chain import Balancer, Outcome, Task

SECOND = 2**20
"""Ticks."""


class Customer(NamedTuple):
    """One request of a load, in ticks."""

    arrives: int
    service: int
    priority: int


Load = list[Customer]
Draw = Callable[[random.Random], float]


def poisson(seed: int, many: int, rate: float, service: Draw, priorities: list[int]) -> Load:
    """Arrivals at ``rate`` a second, each of a random priority."""
    draw, now, load = random.Random(seed), 0, Load()
    for _ in range(many):
        now += 1 + round(draw.expovariate(rate) * SECOND)
        load.append(Customer(now, 1 + round(service(draw) * SECOND), draw.choice(priorities)))
    return load


class Sample(NamedTuple):
    """What became of a load: in which order customers were served, and how long each waited, in ticks."""

    order: list[int]
    waits: list[int]


def ideal(load: Load, servers: int, aging: int | None = None) -> Sample:
    """Never idle while somebody waits; the next is the one of highest priority, then the first that came.

    With ``aging``, in ticks: the one whose virtual deadline is earliest, then the first that came.
    """

    def rank(who: int) -> tuple[int, int]:
        one = load[who]
        return (-one.priority if aging is None else one.arrives - aging * one.priority), who

    instants = {one.arrives for one in load}
    events = [(one.arrives, who) for who, one in enumerate(load)]
    leaving: list[tuple[int, int]] = []
    line: list[int] = []
    free, sample = servers, Sample([], [0] * len(load))
    heapq.heapify(events)
    while events or leaving:
        if leaving and (not events or leaving[0] < events[0]):
            now, _ = heapq.heappop(leaving)
            free += 1
        else:
            now, who = heapq.heappop(events)
            line.append(who)
        if free and line:
            who = min(line, key=rank)
            line.remove(who)
            free -= 1
            end = now + load[who].service
            assert end not in instants, "two events in one instant have no order; take another seed"
            instants.add(end)
            heapq.heappush(leaving, (end, who))
            sample.order.append(who)
            sample.waits[who] = now - load[who].arrives
    return sample


# --- the same on a balancer -------------------------------------------------------------------------------------


async def sleep(ticks: int) -> None:
    """On whichever loop this runs."""
    await (trio.sleep if sniffio.current_async_library() == "trio" else asyncio.sleep)(ticks / SECOND)


def now() -> float:
    return trio.current_time() if sniffio.current_async_library() == "trio" else asyncio.get_running_loop().time()


Ask = Callable[[Balancer, int, Customer], Awaitable[Outcome[Any]]]


class Queueing:
    """Puts a load on a balancer: each customer in a task of its own, at its instant."""

    def __init__(self, load: Load, ask: Ask | None = None, **options: Any) -> None:
        self.load = load
        self.options = options
        self.order: list[int] = []
        self.outcomes: dict[int, Outcome[Any] | Exception] = {}
        self.queued = self.running = 0.0  # their integrals over time, read off the gauges, in seconds times requests
        self.body = Task(self.serve).named("body")
        self._ask = ask or self.arun
        self._began = self._last = 0.0

    def look(self) -> None:
        """At the gauges, at each event, before it changes anything: they have been so since the last one."""
        stats, at = self.balancer.stats(), now()
        self.queued += stats.queued * (at - self._last)
        self.running += stats.running * (at - self._last)
        self._last = at

    async def serve(self, who: int) -> int:
        self.order.append(who)
        await sleep(self.load[who].service)
        self.look()
        return who

    async def arun(self, balancer: Balancer, who: int, one: Customer) -> Outcome[Any]:
        return await balancer.arun(self.body(who), priority=one.priority)

    async def post(self, balancer: Balancer, who: int, one: Customer) -> Outcome[Any]:
        return await balancer.post(self.body(who), priority=one.priority)

    async def customer(self, who: int) -> None:
        try:
            self.outcomes[who] = await self._ask(self.balancer, who, self.load[who])
        except Exception as error:  # noqa: BLE001 - it was refused
            self.outcomes[who] = error

    async def main(self) -> None:
        async with Balancer(**{"abandon_after": 1e9, "buffer": len(self.load), **self.options}) as self.balancer:
            if sniffio.current_async_library() == "trio":
                async with trio.open_nursery() as nursery:
                    await self.arrivals(nursery.start_soon)
            else:
                async with asyncio.TaskGroup() as group:
                    await self.arrivals(lambda work, who: group.create_task(work(who)))

    async def arrivals(self, start: Callable[[Callable[[int], Any], int], object]) -> None:
        self._began = began = self._last = now()
        before = 0
        for who, one in enumerate(self.load):
            await sleep(one.arrives - before)
            before = one.arrives
            assert now() == began + before / SECOND
            self.look()
            start(self.customer, who)

    @property
    def lasted(self) -> float:
        """Seconds, from before the first event to the last."""
        return self._last - self._began

    @property
    def waits(self) -> list[float]:
        """Milliseconds, as the Outcomes have it."""
        return [found.queued if isinstance(found, Outcome) else 0 for _, found in sorted(self.outcomes.items())]
