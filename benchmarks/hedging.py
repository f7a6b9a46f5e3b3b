"""What hedging does for the tail: the demo's slow backend, with and without replicas. ``python -m benchmarks.hedging``.

One call in five is held back for 1.5 s, whatever it asks for; over HTTP on the loopback interface, with the demo's
client. Two calls in a row are slow for 4 % of the requests, so it takes a third to bring the p99 down. Requests come
at a fixed rate, whatever becomes of those before: else the faster case would be measured under the higher load.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

from rio_chain import Chain, Outcome, Task, current_attempt
from rio_chain.demo.client import Api
from rio_chain.demo.servers import Servers

REQUESTS = 800
EVERY = 8
"""Milliseconds between two requests."""
AFTER = 50
"""Milliseconds: several times what a call takes that is not held back."""


def quantile(values: list[float], q: float) -> float:
    return sorted(values)[math.ceil(q * len(values)) - 1]


class Users:
    """The slow backend; it counts the calls that it gets."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.calls = 0

    async def fetch(self, number: int) -> Any:
        self.calls += 1
        me = current_attempt()
        query = {"seed": self.api.seed, "request": number, "attempt": me + 100 * me.replica}  # each its own fault
        answer = await self.api.web.get(f"{self.api.users_url}/users/{number}", params=query)
        return answer.raise_for_status().json()


class Row:
    """One case: latencies in ms, and how many calls it took."""

    def __init__(self, name: str, took: list[float], calls: int) -> None:
        self.name = name
        self.took = took
        self.extra = 100 * (calls / len(took) - 1)

    def line(self) -> str:
        p50, p95, p99 = (quantile(self.took, q) for q in (0.5, 0.95, 0.99))
        return f"  {self.name:24} {p50:8.1f} {p95:8.1f} {p99:8.1f} {self.extra:11.1f} %"


async def measured(name: str, chain: Chain[[int], Any], users: Users, many: int) -> Row:
    async def one(number: int) -> Outcome[Any]:
        return await chain(number)

    users.calls = 0
    async with asyncio.TaskGroup() as group:
        tasks: list[asyncio.Task[Outcome[Any]]] = []
        for number in range(many):
            tasks.append(group.create_task(one(number)))
            await asyncio.sleep(EVERY / 1000)
    outcomes = [task.result() for task in tasks]
    for outcome in outcomes:
        outcome.unwrap()
    return Row(name, [outcome.elapsed for outcome in outcomes], users.calls)


async def cases(servers: Servers, many: int) -> list[Row]:
    users = Users(Api(servers, seed=7))
    try:
        task = Task(users.fetch)
        await measured("warm up", task.replica(3, after=AFTER), users, 50)
        return [
            await measured(name, chain, users, many)
            for name, chain in (
                ("no replica", task),
                (f".replica(2, after={AFTER})", task.replica(2, after=AFTER)),
                (f".replica(3, after={AFTER})", task.replica(3, after=AFTER)),
            )
        ]
    finally:
        await users.api.aclose()


def table(rows: list[Row], many: int) -> str:
    return "\n".join([
        f"{many} requests, one every {EVERY} ms, one call in five held back 1500 ms; milliseconds",
        f"  {'':24} {'p50':>8} {'p95':>8} {'p99':>8} {'extra calls':>13}",
        *(row.line() for row in rows),
    ])  # fmt: skip


def main(many: int = REQUESTS) -> None:
    """Measure, and print the table."""
    with Servers() as servers:
        rows = asyncio.run(cases(servers, many))
    print(table(rows, many))


if __name__ == "__main__":
    main()
