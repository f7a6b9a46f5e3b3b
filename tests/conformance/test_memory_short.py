"""The system has no memory left just when a strand ends or a call of a race begins."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from conformance.harness import World
from returns.result import Success

from rio_chain import Task, current_attempt, fan_out, race
from rio_chain.engine._current_run import CURRENT
from rio_chain.engine._side_call import SideCall


@contextmanager
def no_memory(kind: type, name: str, *, times: int) -> Iterator[list[str]]:
    """Meanwhile the first calls of this method raise MemoryError."""
    real = getattr(kind, name)
    failed: list[str] = []

    def scarce(*args: Any, **kwargs: Any) -> Any:
        if len(failed) < times:
            failed.append(name)
            raise MemoryError
        return real(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, name, scarce)
        yield failed


async def slot_class(world: World) -> type:
    """The class of the slots of this executor."""
    found: list[type] = []

    async def look(_: object) -> None:
        strand = CURRENT.get()
        assert strand is not None
        found.append(type(strand.slot))

    async with world.balancer() as balancer:
        (await balancer.arun(Task(look)(7))).unwrap()
    return found[0]


async def echo(x: object) -> object:
    return x


@pytest.mark.parametrize("times", [1, 3])
async def test_the_limit_of_a_strand_that_ends_is_taken_back_all_the_same(world: World, times: int) -> None:
    async def first_is_slow(x: object) -> object:
        if current_attempt().replica == 0:
            await world.pause(60_000)
        return x

    slot = await slot_class(world)
    chains = [
        Task(echo).timeout(1_000),
        fan_out(Task(echo).timeout(1_000), Task(echo)) >> (lambda both: both[0]),
        Task(first_is_slow).replica(2, after=10).timeout(1_000),
        race(Task(echo).timeout(1_000), Task(first_is_slow)),
    ]
    async with world.balancer() as balancer:
        for chain in chains:
            with no_memory(slot, "release", times=times) as failed:
                outcome = await balancer.arun(chain(7))
            assert failed
            assert outcome.result == Success(7)
            assert (await balancer.arun(chain(7))).result == Success(7)


async def test_a_call_of_a_race_that_cannot_begin_ends_the_race_with_that_error(world: World) -> None:
    async def slow(x: object) -> object:
        await world.pause(60_000)
        return x

    hedged = Task(slow).replica(2, after=10).timeout(30_000)
    async with world.balancer() as balancer:
        with no_memory(SideCall, "_strand", times=1) as failed:
            outcome = await balancer.arun(hedged(7))
        assert failed
        assert isinstance(outcome.error, MemoryError)
        assert (await balancer.arun(Task(echo)(7))).result == Success(7)
