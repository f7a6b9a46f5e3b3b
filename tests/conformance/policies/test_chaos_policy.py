"""Chaos: faults on purpose, the same in every run, switched by their object."""

from __future__ import annotations

from conformance.harness import World
from conformance.policies.backends import backend
from returns.result import Failure, Success

from rio_chain import Chaos, Task, TaskTimedOut


async def test_an_error_instead_of_the_call(world: World) -> None:
    error = OSError("chaos")
    back = backend(world, (1, "a"))
    outcome = await world.run(Task(back.fetch).chaos(Chaos(1, error=error))(7))
    assert outcome.result == Failure(error)
    assert (back.calls, outcome.only.attempts, outcome.only.status) == ([], 0, "failed")
    assert outcome.only.errors == (error,)


async def test_a_class_is_made_anew_each_time(world: World) -> None:
    back = backend(world, (1, "a"))
    outcome = await world.run(Task(back.fetch).chaos(Chaos(1, error=OSError)).retry(1, backoff=None)(7))
    first, second = outcome.only.errors
    assert type(first) is type(second) is OSError
    assert first is not second


async def test_latency_holds_the_call_up(world: World) -> None:
    back = backend(world, (5, "a"))
    outcome = await world.run(Task(back.fetch).chaos(Chaos(1, latency=20))(7))
    assert outcome.result == Success("a")
    assert world.about(outcome.elapsed, 25)


async def test_a_limit_around_it_holds(world: World) -> None:
    back = backend(world, (1, "a"))
    outcome = await world.run(Task(back.fetch).chaos(Chaos(1, latency=10_000)).timeout(world.short)(7))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert back.calls == []


async def test_it_is_switched_by_its_object(world: World) -> None:
    chaos = Chaos(1, error=OSError, on=False)
    chain = Task(backend(world, (0, "a")).fetch).chaos(chaos)
    assert (await world.run(chain(7))).result == Success("a")
    chaos.on = True
    assert type((await world.run(chain(7))).result.failure()) is OSError
    chaos.off()
    assert (await world.run(chain(7))).result == Success("a")


async def test_the_same_seed_hits_the_same_calls(world: World) -> None:
    def hits(outcomes: list[bool]) -> str:
        return "".join("x" if hit else "." for hit in outcomes)

    runs = []
    for _ in range(2):
        chain = Task(backend(world, (0, "a")).fetch).chaos(Chaos(0.4, error=OSError, seed=3))
        outcomes = [await world.run(chain(k)) for k in range(30)]
        runs.append(hits([type(outcome.result) is Failure for outcome in outcomes]))
    assert runs[0] == runs[1]
    assert 4 <= runs[0].count("x") <= 20


async def test_the_policies_around_it_see_its_faults(world: World) -> None:
    back = backend(world, (1, "a"))
    chaos = Chaos(0.5, error=OSError, seed=1)
    outcomes = [await world.run(Task(back.fetch).chaos(chaos).retry(20, backoff=None)(k)) for k in range(10)]
    assert all(outcome.result == Success("a") for outcome in outcomes)
    assert any(outcome.only.errors for outcome in outcomes)
    assert len(back.calls) == 10
