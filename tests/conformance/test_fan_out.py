"""fan_out: order, the first failure, and that no branch is left running."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass

import pytest
from conformance.harness import World
from returns.result import Failure, Success

from rio_chain import BridgeFailed, Skipped, Task, TaskTimedOut, UnknownTask, fan_out, settle, star


@dataclass
class Both:
    late: str
    quick: str


class Bodies:
    """Branches that note when they begin and when their clean-up is complete."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.began: list[str] = []
        self.ended: list[str] = []
        self.ready: Callable[[], bool] = lambda: True  # what has to be before `fails` fails

    async def _takes(self, name: str, ms: float) -> str:
        self.began.append(name)
        try:
            await self.world.pause(ms)
        finally:
            await self.world.shielded(2)  # a clean-up that takes its time
            self.ended.append(name)
        return name

    async def slow(self, _: object) -> str:
        return await self._takes("slow", 10_000)

    async def late(self, _: object) -> str:
        return await self._takes("late", 20)

    async def quick(self, _: object) -> str:
        return await self._takes("quick", 1)

    async def fails(self, _: object) -> str:
        await self.world.pause(10)
        while not self.ready():
            await self.world.pause(1)
        raise OSError("no")


@pytest.fixture
def bodies(world: World) -> Bodies:
    return Bodies(world)


async def test_values_come_in_the_order_of_the_branches(world: World, bodies: Bodies) -> None:
    chain = Task(bodies.late) & Task(bodies.quick) & Task(bodies.quick).named("q")
    outcome = await world.run(chain(1))
    assert outcome.result == Success(("late", "quick", "quick"))
    assert [r.status for r in outcome] == ["succeeded"] * 3
    assert world.about(outcome.elapsed, 22), "together, not one after the other"


async def test_keys_give_a_dict(world: World, bodies: Bodies) -> None:
    outcome = await world.run(fan_out(late=Task(bodies.late), quick=Task(bodies.quick))(1))
    assert outcome.result == Success({"late": "late", "quick": "quick"})
    assert list(outcome.unwrap()) == ["late", "quick"]


async def test_one_task_with_a_given_name_may_occur_twice(world: World, bodies: Bodies) -> None:
    page = Task(bodies.quick).named("page")
    outcome = await world.run((page & page & Task(bodies.late))(1))
    assert [r.name for r in outcome] == ["page#1", "page#2", "late"]
    assert outcome["page#2"].attempts == 1
    with pytest.raises(UnknownTask, match="page#1, page#2"):
        outcome["page"]


async def test_a_class_gives_an_object_of_it(world: World, bodies: Bodies) -> None:
    outcome = await world.run(fan_out(Both, late=Task(bodies.late), quick=Task(bodies.quick))(1))
    assert outcome.result == Success(Both("late", "quick"))
    failed = await world.run(fan_out(Both, late=Task(bodies.slow), quick=Task(bodies.fails))(1))
    assert [r.status for r in failed] == ["cancelled", "failed"], "the first failure stops the rest"
    assert isinstance(failed.error, OSError)


async def test_every_branch_gets_the_same_input(world: World) -> None:
    async def same(x: object) -> object:
        return x

    value = object()
    outcome = await world.run((Task(same) >> (Task(same).named("a") & Task(same).named("b")))(value))
    assert outcome.unwrap()[0] is outcome.unwrap()[1] is value


async def test_the_first_failure_stops_the_rest_and_awaits_them(world: World, bodies: Bodies) -> None:
    bodies.ready = lambda: "quick" in bodies.ended and "slow" in bodies.began
    chain = (Task(bodies.slow) & Task(bodies.fails) & Task(bodies.quick)) >> Task(bodies.quick).named("after")
    outcome = await world.run(chain(1))
    error = outcome.result.failure()
    assert type(error) is OSError
    assert sorted(bodies.began) == ["quick", "slow"]
    assert sorted(bodies.ended) == ["quick", "slow"], "the clean-up of the loser was awaited"
    assert [r.status for r in outcome] == ["cancelled", "failed", "succeeded", "skipped"]
    assert [r.attempts for r in outcome] == [1, 1, 1, 0]
    assert outcome["slow"].result.failure().cause is error
    assert outcome["after"].result.failure().cause is error
    assert world.about(outcome.elapsed, 12)


async def test_a_branch_that_had_not_come_so_far_is_skipped(world: World, bodies: Bodies) -> None:
    bodies.ready = lambda: "slow" in bodies.began
    chain = (Task(bodies.slow) >> Task(bodies.quick)) & Task(bodies.fails)
    outcome = await world.run(chain(1))
    assert [r.status for r in outcome] == ["cancelled", "skipped", "failed"]
    assert type(outcome["quick"].result.failure()) is Skipped


async def test_the_losers_never_retry_nor_fall_back(world: World, bodies: Bodies) -> None:
    handled = []
    bodies.ready = lambda: "slow" in bodies.began
    slow = Task(bodies.slow).retry(3, backoff=None).or_else(handled.append)
    outcome = await world.run((slow & Task(bodies.fails))(1))
    assert type(outcome.result.failure()) is OSError
    assert bodies.began == bodies.ended == ["slow"]
    assert handled == []


async def test_a_fan_out_can_be_retried(world: World, bodies: Bodies) -> None:
    calls = []

    async def flaky(x: int) -> int:
        calls.append(x)
        await world.pause(5)
        if len(calls) == 1:
            raise OSError
        return x

    outcome = await world.run((Task(bodies.late) & Task(flaky)).retry(1, backoff=None)(1))
    assert outcome.result == Success(("late", 1))
    assert [r.attempts for r in outcome] == [2, 2]
    assert [r.status for r in outcome] == ["succeeded", "succeeded"]


async def test_a_limit_around_a_fan_out_stops_all_of_it(world: World, bodies: Bodies) -> None:
    chain = (Task(bodies.slow) & Task(bodies.quick) & Task(bodies.slow).named("s")).timeout(world.short)
    outcome = await world.run(chain(1))
    assert type(outcome.result.failure()) is TaskTimedOut
    if world.virtual:
        assert [r.status for r in outcome] == ["timed_out", "succeeded", "timed_out"]
        assert sorted(bodies.ended) == ["quick", "slow", "slow"]
    assert sorted(bodies.began) == sorted(bodies.ended)
    assert world.about(outcome.elapsed, world.short + 2)


async def test_a_limit_in_a_branch_is_that_branchs_alone(world: World, bodies: Bodies) -> None:
    chain = Task(bodies.slow).timeout(10).or_else("gone") & Task(bodies.late)
    outcome = await world.run(chain(1))
    assert outcome.result == Success(("gone", "late"))


async def test_nested_fan_outs(world: World, bodies: Bodies) -> None:
    inner = Task(bodies.slow) & Task(bodies.slow).named("t")
    bodies.ready = lambda: bodies.began.count("slow") == 3
    chain = fan_out(inner >> star(lambda a, b: a + b), Task(bodies.slow).named("s") & Task(bodies.fails))
    outcome = await world.run(chain(1))
    assert type(outcome.result.failure()) is OSError
    assert [r.status for r in outcome] == ["cancelled", "cancelled", "cancelled", "failed"]
    assert bodies.ended == ["slow"] * 3

    chain = fan_out(Task(bodies.quick) & Task(bodies.late), fan_out(x=Task(bodies.quick).named("q")))
    assert (await world.run(chain(1))).result == Success((("quick", "late"), {"x": "quick"}))


async def test_settle_waits_for_all_and_loses_nothing(world: World, bodies: Bodies) -> None:
    chain = settle(Task(bodies.fails), Task(bodies.late), Task(bodies.slow).timeout(5))
    outcome = await world.run(chain(1))
    failed, late, slow = outcome.unwrap()
    assert type(failed.failure()) is OSError
    assert late == Success("late")
    assert type(slow.failure()) is TaskTimedOut
    assert [r.status for r in outcome] == ["failed", "succeeded", "timed_out"]


async def test_settle_keeps_error_values_too(world: World) -> None:
    async def no(x: str) -> Failure[str]:
        return Failure(x)

    outcome = await world.run((settle(Task(no), Task(no).named("n")) >> star(lambda a, b: [a, b]))("no"))
    assert outcome.result == Success([Failure("no"), Failure("no")])


async def test_a_bridge_that_fails_in_a_branch(world: World, bodies: Bodies) -> None:
    async def echo(x: object) -> object:
        while not bodies.began:
            await world.pause(1)
        return x

    def broken(_: object) -> None:
        raise ValueError("broken")

    chain = (Task(echo) >> broken >> Task(echo).named("b")) & Task(bodies.slow)
    outcome = await world.run(chain(1))
    error = outcome.result.failure()
    assert type(error) is BridgeFailed
    assert (error.before, error.after) == ("echo", "b")
    assert [r.status for r in outcome] == ["succeeded", "skipped", "cancelled"]
    assert outcome["b"].result == Failure(error)
    assert bodies.began == bodies.ended


@pytest.mark.real_time
async def test_sync_branches_run_together(world: World) -> None:
    world.not_virtual("its sync functions run one after the other")
    gates = [world.barrier(2)]

    def meet(x: int) -> int:
        gates[0].wait(5)
        return x

    outcome = await world.run((Task(meet).named("a") & Task(meet).named("b"))(1))
    assert outcome.result == Success((1, 1))


async def test_many_branches(world: World) -> None:
    async def echo(x: int) -> int:
        await world.pause(1)
        return x

    outcome = await world.run(fan_out(*[Task(echo) >> (lambda x, k=k: x + k) for k in range(50)])(1))
    assert outcome.result == Success(tuple(range(1, 51)))
    assert outcome["echo#50"].status == "succeeded"


class Grudging:
    """A branch that answers its cancellation with an error of its own."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.began = 0

    async def fetch(self, _: object) -> None:
        self.began += 1
        try:
            await self.world.pause(10_000)
        finally:
            raise LookupError("in the clean-up")

    async def fails(self, _: object) -> None:
        while not self.began:
            await self.world.pause(1)
        raise OSError("the first failure")


async def test_the_first_failure_is_the_first_in_time(world: World) -> None:
    bodies = Grudging(world)
    outcome = await world.run((Task(bodies.fetch) & Task(bodies.fails))(1))
    assert type(outcome.result.failure()) is OSError, "an error in the clean-up of a loser is not what ended the run"


async def test_a_limit_holds_whatever_the_clean_up_raises(world: World) -> None:
    bodies = Grudging(world)
    outcome = await world.run(Task(bodies.fetch).retry(3, backoff=None).timeout(world.short)(1))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert bodies.began == 1


async def test_a_loser_that_raises_in_its_clean_up_is_not_retried(world: World) -> None:
    bodies = Grudging(world)
    outcome = await world.run((Task(bodies.fetch).retry(3, backoff=None) & Task(bodies.fails))(1))
    assert type(outcome.result.failure()) is OSError
    assert bodies.began == 1


color: ContextVar[str] = ContextVar("color", default="none")


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_what_a_branch_sets_in_its_context_is_seen_in_that_branch_alone(world: World, count: int) -> None:
    seen: dict[str, str] = {}

    def painted(name: str) -> Task[[object], str]:
        async def paints(_: object) -> str:
            seen[f"{name} begins"] = color.get()
            color.set(name)
            await world.pause(5)
            return color.get() if world.native else name  # by its executor, each call may have a context of its own

        return Task(paints).named(name)

    def after(names: tuple[str, ...]) -> tuple[str, ...]:
        seen["after"] = color.get()
        return names

    color.set("caller")
    outcome = await world.run((fan_out(*(painted(f"b{k}") for k in range(count))) >> after)(1))
    seen["caller"] = color.get()
    assert outcome.unwrap() == tuple(f"b{k}" for k in range(count))
    assert set(seen.values()) == {"caller"}, seen
    assert len(seen) == count + 2


async def test_branches_begin_in_their_order(world: World) -> None:
    began: list[int] = []

    def branch(number: int) -> Task[[object], int]:
        async def begins(_: object) -> int:
            began.append(number)
            await world.pause(1)
            return number

        return Task(begins).named(f"b{number}")

    await world.run(fan_out(*map(branch, range(3)))(1))
    assert sorted(began) == [0, 1, 2]
    # trio shuffles those that are ready, and of several threads any may be first
    assert began == [0, 1, 2] or world.mode in ("trio", "trio-driven", "thread")


@pytest.mark.parametrize("late", [False, True])
async def test_the_failure_of_a_branch_leaves_no_cancellation_to_the_caller(world: World, *, late: bool) -> None:
    async def fails(_: object) -> None:
        await world.pause(3 if late else 0)
        raise OSError

    async def waits(_: object) -> None:
        await world.pause(10_000)

    async def run() -> tuple[object, int]:
        outcome = await world.run((Task(fails) & Task(waits)).or_else("none")(1))
        await world.pause(1)
        return outcome.unwrap(), world.cancelling()

    assert await run() == ("none", 0)


@pytest.mark.parametrize("how", ["returned", "awaited"])
async def test_a_fan_out_that_calls_itself_may_be_deep(world: World, how: str) -> None:
    def same(x: int) -> int:
        return x

    def down(x: int) -> object:
        return deeper(x - 1) if x else "bottom"

    async def awaits(x: int) -> object:
        return (await deeper(x - 1)).unwrap() if x else "bottom"

    step: Task[[int], object] = Task(down).inline() if how == "returned" else Task(awaits)
    deeper = fan_out(Task(same).inline(), step)
    got: object = (await world.run(deeper(150))).unwrap()
    for x in range(150, -1, -1):
        assert isinstance(got, tuple)
        beside, got = got
        assert beside == x
    assert got == "bottom"
