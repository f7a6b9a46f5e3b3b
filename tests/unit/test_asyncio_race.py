"""The last branch of a fan-out on asyncio runs in the caller's own task, which we cancel then, and users may, too."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from leaks.loops import eager
from returns.result import Success

from rio_chain import Chain, Task, TaskTimedOut, fan_out, settle

Main = Callable[[], Coroutine[Any, Any, Any]]


def plain() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


@pytest.fixture(params=[plain, eager], ids=lambda made: made.__name__)
def run(request: pytest.FixtureRequest) -> Callable[[Main], Any]:
    if request.param is eager and not hasattr(asyncio, "eager_task_factory"):
        pytest.skip("eager tasks came with Python 3.12")

    def running(main: Main) -> Any:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(main())

    return running


class Last:
    """The branch that runs in the caller's task. It notes what interrupts it, and may swallow that."""

    def __init__(self, *, swallows: bool = False) -> None:
        self.swallows = swallows
        self.task: asyncio.Task[Any] | None = None
        self.interrupted = 0

    @property
    def branch(self) -> Task[[object], str]:
        return Task(self.runs)

    async def runs(self, _: object) -> str:
        self.task = asyncio.current_task()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.interrupted += 1
            await asyncio.sleep(0)  # a clean-up that takes a round of the loop
            if not self.swallows:
                raise
        return "last"


def failing(before: Callable[[], object] = lambda: None, after: Callable[[], object] = lambda: None) -> Task[..., None]:
    """Fails in the third round of the loop; does something in the same round, just before that or just after."""

    async def fails(_: object) -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        before()
        asyncio.get_running_loop().call_soon(after)
        raise OSError("a branch failed")

    return Task(fails)


async def cancelling(chain: Chain[[int], Any]) -> tuple[Any, int]:
    """The result of a run, and how many cancellations its task then counts."""
    task = asyncio.current_task()
    assert task is not None
    got: Any
    try:
        got = (await chain(1)).result
    except asyncio.CancelledError as exc:
        got = exc
    return got, task.cancelling()


def test_only_the_last_branch_runs_in_the_task_of_the_caller(run: Callable[[Main], Any]) -> None:
    async def task_of(_: object) -> asyncio.Task[Any] | None:
        await asyncio.sleep(0)
        return asyncio.current_task()

    async def main() -> tuple[Any, Any]:
        return (await fan_out(*[Task(task_of)] * 3)(1)).unwrap(), asyncio.current_task()

    (first, second, third), own = run(main)
    assert third is own
    assert len({first, second, third}) == 3


@pytest.mark.parametrize("swallows", [False, True])
def test_a_failure_beside_it_interrupts_it_once_and_leaves_no_trace_in_the_task(
    run: Callable[[Main], Any], *, swallows: bool
) -> None:
    last = Last(swallows=swallows)
    result, count = run(lambda: cancelling(fan_out(failing(), last.branch)))
    assert type(result.failure()) is OSError
    assert (count, last.interrupted) == (0, 1)


@pytest.mark.parametrize("order", ["cancelled, then failed", "failed, then cancelled"])
@pytest.mark.parametrize("swallows", [False, True])
@pytest.mark.parametrize("around", ["", "retry", "fan_out"])
def test_a_foreign_cancel_in_the_round_of_a_failure_wins(
    run: Callable[[Main], Any], order: str, around: str, *, swallows: bool
) -> None:
    last = Last(swallows=swallows)

    async def main() -> tuple[Any, int]:
        task = asyncio.current_task()
        assert task is not None
        fails = failing(before=task.cancel) if order.startswith("cancelled") else failing(after=task.cancel)
        chain: Chain[[int], Any] = fan_out(fails, last.branch)
        if around == "retry":
            chain = chain.retry(1, backoff=None)
        elif around == "fan_out":
            chain = fan_out(Last().branch, chain)
        return await cancelling(chain)

    result, count = run(main)
    assert type(result) is asyncio.CancelledError
    assert (count, last.interrupted) == (1, 1)


@pytest.mark.parametrize("swallows", [False, True])
def test_it_can_not_swallow_a_cancel_of_the_caller(run: Callable[[Main], Any], *, swallows: bool) -> None:
    last, beside = Last(swallows=swallows), Last()

    async def main() -> tuple[Any, int]:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_later(0.005, task.cancel)
        return await cancelling(fan_out(beside.branch, last.branch))

    result, count = run(main)
    assert type(result) is asyncio.CancelledError
    assert (count, last.interrupted, beside.interrupted) == (1, 1, 1)


def test_a_failure_in_the_first_round_stops_it_before_it_begins(run: Callable[[Main], Any]) -> None:
    last = Last()

    async def fails(_: object) -> None:
        raise OSError

    result, count = run(lambda: cancelling(fan_out(Task(fails), last.branch)))
    assert type(result.failure()) is OSError
    assert (count, last.task) == (0, None)


def test_a_fan_out_as_last_branch_is_stopped_by_the_failure_that_is_nearest_to_each(run: Callable[[Main], Any]) -> None:
    inner, outer = Last(), Last()

    async def main() -> list[tuple[Any, int]]:
        recovered = fan_out(failing(), inner.branch).or_else("recovered")
        lost = fan_out(failing(), fan_out(outer.branch, outer.branch).retry(3, backoff=None))
        return [await cancelling(settle(recovered, recovered)), await cancelling(lost)]

    (kept, zero), (gone, nought) = run(main)
    assert kept.unwrap() == (Success("recovered"), Success("recovered"))
    assert type(gone.failure()) is OSError
    assert (zero, nought) == (0, 0)
    assert (inner.interrupted, outer.interrupted) == (2, 2), "and the retry inside did not call again"


@pytest.mark.parametrize("outer", [5, 60_000])
def test_a_limit_of_the_branch_is_not_mistaken_for_one_around_it(run: Callable[[Main], Any], outer: int) -> None:
    last, beside = Last(), Last()
    guarded = last.branch.timeout(10).retry(1, backoff=None)
    result, count = run(lambda: cancelling(fan_out(beside.branch, guarded).timeout(outer)))
    error = result.failure()
    assert (type(error), error.ms) == (TaskTimedOut, min(outer, 10))
    assert (count, last.interrupted, beside.interrupted) == (0, 1 if outer == 5 else 2, 1)


def test_what_asyncio_gives_works_in_it(run: Callable[[Main], Any]) -> None:
    async def uses(_: object) -> str:
        try:
            async with asyncio.timeout(0.005):
                await asyncio.sleep(60)
        except TimeoutError:
            async with asyncio.TaskGroup() as group:
                child = group.create_task(asyncio.sleep(0.001, "child"))
            return await child
        return "no timeout"

    async def beside(_: object) -> None:
        await asyncio.sleep(0.001)

    result, count = run(lambda: cancelling(fan_out(Task(beside), Task(uses))))
    assert (result, count) == (Success((None, "child")), 0)
