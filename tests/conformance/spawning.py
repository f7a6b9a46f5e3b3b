"""A policy that spawns a strand for each call that it lets in, and what such strands do in tests."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from rio_chain import Chain, Outcome, Request, Task
from rio_chain.engine._current_run import CURRENT, Run
from rio_chain.engine._run import execute
from rio_chain.engine._runtime_protocol import Runtime, SpawnedStrand
from rio_chain.policies._permit import Call, Permit
from rio_chain.policies._policy import Policy

Main = Callable[[], Coroutine[Any, Any, object]]


def runtime() -> Runtime:
    """That of the strand that asks."""
    strand = CURRENT.get()
    assert strand is not None
    return strand.rt


async def rest(ms: float) -> None:
    """Sleep in a strand."""
    await runtime().sleep(ms / 1000)


async def run_in_strand(request: Request[Any]) -> Outcome[Any]:
    """Run a request in the strand that asks."""
    return await execute(runtime(), request, Run(request.plan))


class Door:
    """What strands wait for until it is opened, from any thread."""

    def __init__(self) -> None:
        self.is_open = False
        self._wakers: list[Callable[[], None]] = []

    def open(self) -> None:
        self.is_open = True
        for wake in self._wakers:
            wake()

    async def passed(self) -> None:
        waiter = runtime().waiter()
        self._wakers.append(waiter.wake)
        if not self.is_open:
            await waiter.wait()


class Spawning(Policy):
    """Spawns a strand for each call that it lets in, as a cache does that refreshes behind."""

    builder_call = "spawning"
    key = None

    def __init__(self, main: Main, limit: float | None = None) -> None:
        self.main = main
        self.limit = None if limit is None else limit / 1000
        self.spawned: list[SpawnedStrand] = []

    def enter(self, _: Call, /) -> Permit:
        self.spawned.append(runtime().spawn(self.main, self.limit))
        return Permit()

    @property
    def only(self) -> SpawnedStrand:
        (spawned,) = self.spawned
        return spawned

    def all_done(self) -> bool:
        return bool(self.spawned) and all(spawned.done for spawned in self.spawned)

    def around(self, fn: Callable[[Any], Any]) -> Chain[[Any], Any]:
        """A task in which each call spawns a strand first."""
        return Task(fn)._scope(self)
