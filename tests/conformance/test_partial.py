"""``time_limit=`` of each, settle and fan_out: what has come by then is the result, and the rest is cancelled."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from conformance.harness import World, pause
from conformance.policies.backends import HANG, backend
from returns.result import Failure, Success

from rio_chain import NotEnoughSuccesses, Task, TaskTimedOut, at_least, each, fan_out, reduce, settle

ITEMS = list[Any]


def given(items: ITEMS) -> ITEMS:
    return items


class Names:
    """A backend that answers each item at once, or never. It notes how a call of the latter ends."""

    def __init__(self) -> None:
        self.hanging = 0
        self.cleaned = 0

    async def fetch(self, name: str) -> str:
        if name.startswith("error"):
            raise OSError(name)
        if name.startswith("hang"):
            self.hanging += 1
            try:
                await pause(HANG)
            finally:
                self.cleaned += 1
        return name.upper()


async def test_each_gives_what_has_come_in_the_order_of_the_items(world: World) -> None:
    names = Names()
    chain = Task(given).inline() >> each(Task(names.fetch), limit=3, time_limit=world.short, on_timeout="keep")
    outcome = await world.run(chain(["a", "hang 1", "b", "hang 2", "c", "hang 3", "d", "e"]))
    assert outcome.unwrap() == ["A", "B", "C"]
    assert outcome["fetch"].counts == {"succeeded": 3, "timed_out": 3, "skipped": 2}
    assert outcome["fetch"].status == "succeeded"
    assert [item.status for item in outcome["fetch"].items] == [
        "succeeded", "timed_out", "succeeded", "timed_out", "succeeded", "timed_out",
    ]  # fmt: skip
    assert (names.hanging, names.cleaned) == (3, 3), "the rest is cancelled and awaited"
    assert world.about(outcome.elapsed, world.short)


async def test_without_keep_each_fails(world: World) -> None:
    names = Names()
    chain = Task(given).inline() >> each(Task(names.fetch), time_limit=world.short)
    outcome = await world.run(chain(["a", "hang"]))
    error = outcome.result.failure()
    assert type(error) is TaskTimedOut
    assert outcome["fetch"].status == "timed_out"
    assert outcome["fetch"].counts == {"succeeded": 1, "timed_out": 1}
    assert (await world.run(chain(["a", "b"]))).unwrap() == ["A", "B"]


async def test_nothing_has_come(world: World) -> None:
    chain = Task(given).inline() >> each(Task(Names().fetch), limit=1, time_limit=world.short, on_timeout="keep")
    outcome = await world.run(chain(["hang", "a"]))
    assert outcome.unwrap() == []
    assert outcome["fetch"].counts == {"timed_out": 1, "skipped": 1}


@pytest.mark.parametrize(
    ("on_error", "result"),
    [
        ("keep", [Success("A"), Failure(OSError)]),
        ("drop", ["A"]),
        (at_least(1), ["A"]),
        (at_least(2), NotEnoughSuccesses),
        ("raise", OSError),
    ],
)
async def test_together_with_failures(world: World, on_error: Any, result: Any) -> None:
    names = Names()
    chain = Task(given).inline() >> each(
        Task(names.fetch), limit=3, on_error=on_error, time_limit=world.short, on_timeout="keep"
    )
    outcome = await world.run(chain(["a", "error", "hang"]))
    if isinstance(result, type):
        assert type(outcome.result.failure()) is result
        return
    got: Any = [r if not isinstance(r, Failure) else Failure(type(r.failure())) for r in outcome.unwrap()]
    assert got == result


async def test_a_generator_is_closed_and_read_no_further(world: World) -> None:
    closed, read = list[str](), list[int]()

    async def numbers(_: object) -> Any:
        try:
            for k in range(1_000):
                read.append(k)
                yield f"hang {k}" if k % 2 else str(k)
        finally:
            closed.append("closed")

    names = Names()
    chain = Task(numbers) >> each(Task(names.fetch), limit=2, time_limit=world.short, on_timeout="keep")
    outcome = await world.run(chain(0))
    assert outcome.unwrap() == ["0", "2"]
    assert closed == ["closed"]
    assert len(read) < 20


async def test_an_iterator_that_has_no_next_item_in_time(world: World) -> None:
    async def slow(_: object) -> Any:
        yield "a"
        await pause(HANG)
        yield "b"

    chain = Task(slow) >> each(Task(Names().fetch), time_limit=world.short, on_timeout="keep")
    assert (await world.run(chain(0))).unwrap() == ["A"]


async def test_a_reduce_folds_what_has_come(world: World) -> None:
    chain = Task(given).inline() >> each(
        Task(Names().fetch), limit=3, time_limit=world.short, on_timeout="keep"
    ) >> reduce(lambda total, name: total + name, initial="-")  # fmt: skip
    assert (await world.run(chain(["a", "hang", "b", "c"]))).unwrap() == "-ABC"


async def test_a_timeout_around_it_that_is_earlier_counts(world: World) -> None:
    chain = Task(given).inline() >> each(Task(Names().fetch), time_limit=HANG, on_timeout="keep")
    outcome = await world.run(chain.timeout(world.short)(["a", "hang"]))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert world.about(outcome.elapsed, world.short)


async def test_a_retry_around_it_begins_a_new_limit(world: World) -> None:
    seen = list[int]()
    chain = (
        Task(given).inline()
        >> each(Task(Names().fetch), time_limit=world.short, on_timeout="keep").retry(
            1, backoff=None, accept=lambda got: seen.append(len(got)) or len(seen) > 1
        )
    )  # fmt: skip
    outcome = await world.run(chain(["a", "hang"]))
    assert outcome.unwrap() == ["A"]
    assert seen == [1, 1]
    assert world.about(outcome.elapsed, 2 * world.short)


async def test_an_inner_limit_ends_before_an_outer_one(world: World) -> None:
    if not world.virtual:
        pytest.skip("the inner limit may be late")
    inner = Task(given).named("inner").inline() >> each(Task(Names().fetch), time_limit=20, on_timeout="keep")
    chain = Task(given).inline() >> each(inner, limit=1, time_limit=50, on_timeout="keep")
    outcome = await world.run(chain([["a", "hang"], ["b", "hang"], ["c", "hang"]]))
    assert outcome.unwrap() == [["A"], ["B"]]
    assert world.about(outcome.elapsed, 50)


async def test_settle_has_a_failure_for_each_late_branch(world: World) -> None:
    a, b, c = backend(world, (1, "a")), backend(world, (HANG, "b"), cleanup=1), backend(world, (1, OSError()))
    chain = settle(*(Task(x.fetch).named(n) for x, n in ((a, "a"), (b, "b"), (c, "c"))), time_limit=world.short)
    outcome = await world.run(chain(1))
    first, second, third = outcome.unwrap()
    assert first == Success("a")
    assert type(second.failure()) is TaskTimedOut
    assert str(second.failure()).startswith("`b` did not answer within")
    assert type(third.failure()) is OSError
    assert [response.status for response in outcome] == ["succeeded", "timed_out", "failed"]
    assert b.ends == ["cleaned up"]


async def test_settle_ends_when_all_have(world: World) -> None:
    a = backend(world, (1, "a"))
    outcome = await world.run(settle(Task(a.fetch), time_limit=HANG)(1))
    assert outcome.unwrap() == (Success("a"),)
    assert outcome.elapsed < HANG / 2


async def test_a_fan_out_waits_for_all_until_the_limit(world: World) -> None:
    a, b, c = backend(world, (1, "a")), backend(world, (HANG, "b"), cleanup=1), backend(world, (15, "c"))
    chain = fan_out(
        x=Task(a.fetch).named("a"), y=Task(b.fetch).named("b"), z=Task(c.fetch).named("c"),
        need=1, time_limit=2 * world.short,
    )  # fmt: skip
    outcome = await world.run(chain(1))
    assert outcome.unwrap() == {"x": "a", "z": "c"}
    assert [response.status for response in outcome] == ["succeeded", "timed_out", "succeeded"]
    assert b.ends == ["cleaned up"]


async def test_a_fan_out_with_too_few_values_by_then_fails(world: World) -> None:
    a, b = backend(world, (1, "a")), backend(world, (HANG, "b"))
    chain = fan_out(Task(a.fetch).named("a"), Task(b.fetch).named("b"), need=2, time_limit=world.short)
    outcome = await world.run(chain(1))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert [response.status for response in outcome] == ["succeeded", "timed_out"]


async def test_a_fan_out_that_can_not_have_enough_any_more_fails_at_once(world: World) -> None:
    a, b = backend(world, (1, OSError())), backend(world, (HANG, "b"))
    outcome = await world.run(fan_out(Task(a.fetch), Task(b.fetch).named("b"), need=2, time_limit=HANG / 2)(1))
    assert type(outcome.result.failure()) is OSError
    assert outcome.elapsed < HANG / 4


async def test_a_cancelled_run_has_no_partial_answer(world: World) -> None:
    names = Names()
    chain = Task(given).inline() >> each(Task(names.fetch), time_limit=HANG / 2, on_timeout="keep")
    child = world.start(lambda: world.run(chain(["a", "hang"])))
    await world.until(lambda: names.hanging)
    child.stop()
    await child.ended()
    await world.until(lambda: names.cleaned)
    assert child.value is None


async def test_an_answer_at_the_very_instant_is_late(world: World) -> None:
    if not world.virtual:
        pytest.skip("instants are exact only in virtual time")
    a, b = backend(world, (20, "a")), backend(world, (20, "b"))
    chain = settle(Task(a.fetch).named("a"), Task(b.fetch).named("b"), time_limit=20)
    first, second = (await world.run(chain(1))).unwrap()
    assert (type(first.failure()), type(second.failure())) == (TaskTimedOut, TaskTimedOut)


@pytest.mark.real_time
async def test_a_blocking_call_is_abandoned(world: World) -> None:
    world.not_virtual("a sync function is never abandoned there")

    over = threading.Event()

    def blocks(name: str) -> str:
        if name == "late":
            over.wait(10)
        return name

    chain = Task(given).inline() >> each(Task(blocks), time_limit=4 * world.short, on_timeout="keep")
    outcome = await world.run(chain(["late", "b"]))
    over.set()
    assert outcome.unwrap() == ["b"]
    assert outcome["blocks"].counts == {"succeeded": 1, "timed_out": 1}
