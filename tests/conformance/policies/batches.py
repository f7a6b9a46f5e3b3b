"""Batch functions that note what they are asked, and a crowd of callers for them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from attrs import define, field
from conformance.harness import Gate, World

from rio_chain import Batch, Request, Task
from rio_chain.engine._current_run import CURRENT


@define(eq=False)
class Backend:
    """Answers each key with ``value(key)``, after its gate is open if it has one."""

    value: Callable[[Any], Any] = field(default=lambda key: f"user {key}")
    gate: Gate | None = None
    asked: list[list[Any]] = field(factory=list)
    ends: list[str] = field(factory=list)

    async def fetch_many(self, keys: list[Any]) -> list[Any]:
        number = len(self.asked)
        self.asked.append(keys)
        self.ends.append("cancelled")
        if self.gate is not None:
            await self.gate.passed()
        self.ends[number] = "answered"
        return [self.value(key) for key in keys]


def waiting(batch: Batch) -> int:
    """How many calls wait in it."""
    found = re.search(r"(\d+) wait>", repr(batch))
    assert found is not None
    return int(found[1])


async def gathered(world: World, requests: Iterable[Request[Any]]) -> list[Any]:
    """What a body does that awaits several requests of its own: their outcomes in order."""
    found: dict[int, Any] = {}

    def awaiting(number: int, request: Request[Any]) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            found[number] = await request

        return work

    await world.in_group(*[awaiting(number, request) for number, request in enumerate(requests)])
    return [found[number] for number in sorted(found)]


async def in_one_run(world: World, *requests: Request[Any], **options: Any) -> list[Any]:
    """Run them in the body of one task, at the same time: their outcomes in order."""

    async def body(_: object) -> list[Any]:
        return await gathered(world, requests)

    outcome = await world.run(Task(body)(None), **options)
    value: list[Any] = outcome.unwrap()
    return value


def now() -> float:
    """Milliseconds of the clock of the run that asks."""
    strand = CURRENT.get()
    assert strand is not None
    return strand.rt.now() * 1000
