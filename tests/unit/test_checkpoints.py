"""On trio an awaited chain is a checkpoint, and one that has waited is none besides; asyncio asks for none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from rio_chain import Balancer, Chain, Task, each, fan_out
from rio_chain.testing import run_virtual


class Steps(trio.abc.Instrument):
    """How often the task that runs ``during`` has let others run."""

    def __init__(self) -> None:
        self.count = -1

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += task is self.task

    @asynccontextmanager
    async def during(self) -> AsyncIterator[None]:
        self.task = trio.lowlevel.current_task()
        self.count = 0
        trio.lowlevel.add_instrument(self)
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(self)


async def same(x: Any) -> Any:
    return x


async def once(x: Any) -> Any:
    await trio.lowlevel.checkpoint()
    return x


async def twice(x: Any) -> Any:
    return await once(await once(x))


async def shielded(x: Any) -> Any:
    await trio.lowlevel.cancel_shielded_checkpoint()
    return x


async def fails(x: Any) -> Any:
    raise OSError(x)


async def nested(x: Any) -> Any:
    return (await Task(same)(x)).unwrap()


NO_WAIT: dict[str, Chain[[int], Any]] = {
    "async": Task(same),
    "inline": Task(str).inline(),
    "guarded": Task(same).timeout(1000).retry(2),
    "failed": Task(fails),
    "bridges": Task(same) >> str >> len,
    "a fallback": Task(fails).or_else(3),
    "nothing to do": each(Task(same)),
}
WAITS: dict[str, tuple[Chain[[int], Any], int]] = {
    "one step": (Task(same) >> Task(once) >> Task(same).named("last"), 1),
    "two steps": (Task(once) >> Task(once).named("second"), 2),
    "a step with two": (Task(twice).timeout(1000), 2),
    "shielded": (Task(shielded), 1),
    "a chain in a body": (Task(nested), 1),
}


def value_of(name: str) -> Any:
    return [] if name == "nothing to do" else 7


@pytest.mark.parametrize("name", NO_WAIT)
@pytest.mark.parametrize("way", ["await", "arun"])
def test_one_checkpoint_where_no_step_waits(name: str, way: str) -> None:
    async def main() -> int:
        steps, request = Steps(), NO_WAIT[name](value_of(name))
        async with Balancer() as balancer:
            call = (lambda: request) if way == "await" else (lambda: balancer.arun(request))
            await call()  # what is made on first use
            with trio.testing.assert_checkpoints():
                await call()
            async with steps.during():
                await call()
        return steps.count

    assert trio.run(main) == 1


@pytest.mark.parametrize("name", WAITS)
@pytest.mark.parametrize("way", ["await", "arun"])
def test_none_is_added_where_a_step_has_waited(name: str, way: str) -> None:
    chain, expected = WAITS[name]

    async def main() -> int:
        steps = Steps()
        async with Balancer() as balancer:
            call = (lambda: chain(7)) if way == "await" else (lambda: balancer.arun(chain(7)))
            await call()
            with trio.testing.assert_checkpoints():
                await call()
            async with steps.during():
                await call()
        return steps.count

    assert trio.run(main) == expected


@pytest.mark.parametrize("executor", [None, "thread", "asyncio"])
def test_a_ticket_that_is_answered_is_one(executor: str | None) -> None:
    async def main() -> int:
        steps = Steps()
        async with Balancer(executor) as balancer:
            ticket = balancer.post(Task(same)(7))
            await ticket
            assert ticket.done
            with trio.testing.assert_checkpoints():
                assert (await ticket).unwrap() == 7
            async with steps.during():
                await ticket
            with trio.testing.assert_checkpoints():
                assert (await balancer.arun(Task(same)(7))).unwrap() == 7
        return steps.count

    assert trio.run(main) == 1


def test_each_outcome_of_a_map_and_each_event_of_a_stream_is_one() -> None:
    async def main() -> None:
        async with Balancer() as balancer:
            outcomes = balancer.amap(Task(same), range(30))
            for value in range(30):
                with trio.testing.assert_checkpoints():
                    assert (await anext(outcomes)).unwrap() == value
        events = aiter((Task(same) & Task(str))(7).stream())
        for _ in range(5):
            with trio.testing.assert_checkpoints():
                await anext(events)

    trio.run(main)


@pytest.mark.parametrize("way", ["await", "arun", "ticket"])
def test_a_cancellation_that_is_pending_is_heard_before_anything_is_called(way: str) -> None:
    called = []

    async def body(x: int) -> int:
        called.append(x)
        return x

    async def main() -> None:
        async with Balancer(workers=1) as balancer:
            done = balancer.post(Task(same)(7))
            await done
            ways: dict[str, Callable[[], Awaitable[Any]]] = {
                "await": lambda: Task(body)(7),
                "arun": lambda: balancer.arun(Task(body)(7)),
                "ticket": lambda: done,
            }
            with trio.CancelScope() as scope:
                scope.cancel()
                await ways[way]()
                raise AssertionError("it was cancelled")
            assert scope.cancelled_caught
            with trio.CancelScope() as outer:
                outer.cancel()
                with trio.CancelScope(shield=True):
                    await ways[way]()
                assert called == ([] if way == "ticket" else [7])
            assert balancer.stats().running == 0
            assert (await balancer.arun(Task(same)(1))).unwrap() == 1, "its slot is free"

    trio.run(main)


def test_one_that_comes_while_no_step_waits_is_heard_at_the_end() -> None:
    async def main() -> None:
        with trio.CancelScope() as scope:

            async def body(x: int) -> int:
                scope.cancel()
                return x

            await Task(body)(7)
            raise AssertionError("it was cancelled")
        assert scope.cancelled_caught

    trio.run(main)


def test_others_have_their_turn() -> None:
    order: list[str] = []

    async def other() -> None:
        for _ in range(3):
            order.append("other")
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            for _ in range(3):
                await Task(same)(7)
                order.append("ours")

    trio.run(main)
    assert order[:2] != ["ours", "ours"]


def test_a_race_is_one_as_its_nursery_waits() -> None:
    async def main() -> None:
        with trio.testing.assert_checkpoints():
            await fan_out(Task(same), Task(str))(7)

    trio.run(main)


def test_asyncio_asks_for_none() -> None:
    async def main() -> list[str]:
        turns: list[str] = []
        async with Balancer() as balancer:
            await balancer.arun(Task(same)(7))
            ticket = balancer.post(Task(same)(7))
            await ticket
            asyncio.get_running_loop().call_soon(turns.append, "the loop went round")
            for call in (lambda: Task(same)(7), lambda: balancer.arun(Task(same)(7)), lambda: ticket):
                await call()
            return [*turns]

    assert asyncio.run(main()) == []


def test_virtual_time_on_trio_is_trio() -> None:
    async def main() -> float:
        with trio.testing.assert_checkpoints():
            outcome = await Task(same)(7)
        return outcome.elapsed

    assert run_virtual(main, "trio") == 0
