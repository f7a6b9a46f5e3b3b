"""Breakers: what counts, which calls are refused, and the one probe."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from conformance.harness import World
from conformance.policies.backends import HANG, backend
from returns.result import Failure, Success

from rio_chain import Breaker, CircuitOpen, LimitExceeded, Task, TaskTimedOut


def fails(world: World) -> Any:
    return backend(world, (1, OSError("down")))


async def test_so_many_failures_in_a_row_open_it(world: World) -> None:
    breaker, back = Breaker(3), fails(world)
    chain = Task(back.fetch).breaker(breaker)
    errors = [type((await world.run(chain(7))).result.failure()) for _ in range(5)]
    assert errors == [OSError, OSError, OSError, CircuitOpen, CircuitOpen]
    assert (len(back.calls), breaker.state) == (3, "open")


async def test_a_success_between_them_starts_the_count_anew(world: World) -> None:
    down = OSError("down")
    back = backend(world, (1, down), (1, "up"), (1, down), (1, "up"))
    chain = Task(back.fetch).breaker(breaker := Breaker(2))
    for _ in range(4):
        await world.run(chain(7))
    assert breaker.state == "closed"


async def test_a_ratio_of_failures_opens_it(world: World) -> None:
    down = OSError("down")
    back = backend(world, (0, "up"), (0, down), (0, "up"), (0, down), (0, down))
    chain = Task(back.fetch).breaker(breaker := Breaker(ratio=0.5, min_calls=4))
    states = []
    for _ in range(4):
        await world.run(chain(7))
        states.append(breaker.state)
    assert states == ["closed", "closed", "closed", "open"]


async def test_what_a_refused_call_leaves(world: World) -> None:
    breaker, back = Breaker(1, open_for=5_000, name="payments"), fails(world)
    chain = Task(back.fetch).breaker(breaker) >> Task(str).inline()
    await world.run(chain(7))
    outcome = await world.run(chain(7))
    error = outcome.result.failure()
    assert type(error) is CircuitOpen
    assert "payments" in str(error)
    assert 0 < error.retry_after <= 5
    assert [(r.status, r.attempts) for r in outcome] == [("failed", 0), ("skipped", 0)]
    assert outcome[0].errors == (error,)
    assert outcome.elapsed < 4_000


async def test_its_refusal_is_never_retried(world: World) -> None:
    back = fails(world)
    outcome = await world.run(Task(back.fetch).breaker(Breaker(2)).retry(9, backoff=None)(7))
    assert type(outcome.result.failure()) is CircuitOpen
    assert (len(back.calls), outcome.only.attempts) == (2, 2)
    assert [type(e) for e in outcome.only.errors] == [OSError, OSError, CircuitOpen]


async def test_around_the_retry_it_sees_one_failure(world: World) -> None:
    back, breaker = fails(world), Breaker(2)
    chain = Task(back.fetch).retry(4, backoff=None).breaker(breaker)
    assert type((await world.run(chain(7))).result.failure()) is OSError
    assert (len(back.calls), breaker.state) == (5, "closed")


async def test_its_refusal_can_be_replaced(world: World) -> None:
    breaker = Breaker()
    breaker.open()
    chain = Task(fails(world).fetch).breaker(breaker).or_else("stale", on=CircuitOpen)
    assert (await world.run(chain(7))).result == Success("stale")


# --- what counts ------------------------------------------------------------------------------------------------


async def test_outside_of_a_limit_it_counts_the_time_outs(world: World) -> None:
    back, breaker = backend(world, (HANG, "a")), Breaker(1)
    outcome = await world.run(Task(back.fetch).timeout(world.short).breaker(breaker)(7))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert breaker.state == "open"


async def test_inside_of_a_limit_it_does_not(world: World) -> None:
    back, breaker = backend(world, (HANG, "a")), Breaker(1)
    outcome = await world.run(Task(back.fetch).breaker(breaker).timeout(world.short)(7))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert breaker.state == "closed"


@pytest.mark.real_time
async def test_an_outer_limit_does_not_count_even_if_an_inner_one_is_over_too(world: World) -> None:
    world.not_virtual("a sync function takes no time, so no limit ends it")

    def late(_: int) -> str:
        world.block(30)
        return "late"

    breaker = Breaker(1)
    outcome = await world.run(Task(late).inline().timeout(5).breaker(breaker).timeout(10)(7))
    assert outcome.result.failure().ms == 10
    assert breaker.state == "closed"


async def test_a_deadline_does_not_count(world: World) -> None:
    back, breaker = backend(world, (HANG, "a")), Breaker(1)
    await world.run(Task(back.fetch).breaker(breaker)(7), deadline=world.short)
    assert breaker.state == "closed"


async def test_a_cancel_does_not_count(world: World) -> None:
    back, breaker = backend(world, (HANG, "a")), Breaker(1)
    child = world.start(lambda: world.run(Task(back.fetch).breaker(breaker)(7)))
    await world.until(lambda: back.calls)
    child.stop()
    await child.ended()
    assert breaker.state == "closed"


async def test_a_lost_race_does_not_count(world: World) -> None:
    back, breaker = backend(world, (HANG, "a"), (1, "b"), each=True), Breaker(1)
    assert (await world.run(Task(back.fetch).breaker(breaker).replica(2)(7))).result == Success("b")
    assert breaker.state == "closed"


async def test_refusals_of_ours_do_not_count(world: World) -> None:
    back, breaker = backend(world, (1, LimitExceeded("full"))), Breaker(1)
    await world.run(Task(back.fetch).breaker(breaker)(7))
    assert breaker.state == "closed"


async def test_only_the_errors_of_on_count(world: World) -> None:
    back, breaker = backend(world, (1, KeyError("mine")), (1, OSError("down"))), Breaker(1, on=OSError)
    chain = Task(back.fetch).breaker(breaker)
    await world.run(chain(7))
    assert breaker.state == "closed"
    await world.run(chain(7))
    assert breaker.state == "open"


async def test_the_error_value_of_a_returned_failure_counts(world: World) -> None:
    back, breaker = backend(world, (1, Failure("no"))), Breaker(1)
    await world.run(Task(back.fetch).breaker(breaker)(7))
    assert breaker.state == "open"


# --- the probe --------------------------------------------------------------------------------------------------


async def test_after_a_while_one_probe_decides(world: World) -> None:
    down = OSError("down")
    back = backend(world, (0, down), (0, down), (0, "up"))
    chain = Task(back.fetch).breaker(breaker := Breaker(1, open_for=10))
    await world.run(chain(7))
    await world.until(lambda: breaker.state == "half_open")
    assert type((await world.run(chain(7))).result.failure()) is OSError
    await world.until(lambda: breaker.state == "half_open")
    assert (await world.run(chain(7))).result == Success("up")
    assert breaker.state == "closed"


async def test_others_are_refused_while_the_probe_runs(world: World) -> None:
    go = world.gate()
    calls = []

    async def fetch(x: int) -> int:
        calls.append(x)
        if x == 0:
            raise OSError("down")
        await go.passed()
        return x

    chain = Task(fetch).breaker(breaker := Breaker(1, open_for=10))
    await world.run(chain(0))
    await world.until(lambda: breaker.state == "half_open")
    probe = world.start(lambda: world.run(chain(1)))
    await world.until(lambda: calls == [0, 1])
    outcomes = await world.together(*[lambda k=k: world.run(chain(k)) for k in (2, 3, 4)])
    assert [type(outcome.result.failure()) for outcome in outcomes] == [CircuitOpen] * 3
    go.open()
    assert (await probe.result()).result == Success(1)
    assert calls == [0, 1]
    assert breaker.state == "closed"


@pytest.mark.parametrize("how", ["cancel", "limit", "replica"])
async def test_a_probe_that_says_nothing_makes_room_for_the_next(world: World, how: str) -> None:
    back = backend(world, (0, OSError("down")), (HANG, "a"), (1, "up"))
    chain = Task(back.fetch).breaker(breaker := Breaker(1, open_for=10))
    await world.run(chain(7))
    await world.until(lambda: breaker.state == "half_open")
    if how == "limit":
        assert type((await world.run(chain.timeout(world.short)(7))).result.failure()) is TaskTimedOut
    elif how == "replica":
        other = backend(world, (5, "other"))
        await world.run(chain.replica(to=[Task(other.fetch).named("other")])(7))
    else:
        probe = world.start(lambda: world.run(chain(7)))
        await world.until(lambda: len(back.calls) == 2)
        probe.stop()
        await probe.ended()
    assert breaker.state == "half_open"
    assert (await world.run(chain(7))).result == Success("up")
    assert breaker.state == "closed"


async def test_calls_that_began_before_it_changed_do_not_count(world: World) -> None:
    go = world.gate()
    calls = []

    async def fetch(x: int) -> int:
        calls.append(x)
        if x:
            await go.passed()
            return x
        raise OSError("down")

    chain = Task(fetch).breaker(breaker := Breaker(1))
    slow = world.start(lambda: world.run(chain(1)))
    await world.until(lambda: calls == [1])
    await world.run(chain(0))
    go.open()
    assert (await slow.result()).result == Success(1)
    assert breaker.state == "open"


async def test_by_hand(world: World) -> None:
    back = backend(world, (0, "a"))
    chain = Task(back.fetch).breaker(breaker := Breaker())
    breaker.open(hold=True)
    error = (await world.run(chain(7))).result.failure()
    assert (type(error), error.retry_after) == (CircuitOpen, None)
    breaker.close()
    assert (await world.run(chain(7))).result == Success("a")


async def test_opened_by_hand_before_its_first_call(world: World) -> None:
    back = backend(world, (0, "a"))
    chain = Task(back.fetch).breaker(breaker := Breaker(open_for=40))
    breaker.open()
    assert type((await world.run(chain(7))).result.failure()) is CircuitOpen
    breaker = Breaker(open_for=40)
    breaker.open()
    await world.pause(41)
    assert breaker.state == "half_open"
    assert (await world.run(Task(back.fetch).breaker(breaker)(7))).result == Success("a")


async def test_opened_by_hand_on_another_clock_than_that_of_its_last_call(world: World) -> None:
    back = backend(world, (0, "a"))
    chain = Task(back.fetch).breaker(breaker := Breaker(open_for=40))
    elsewhere = threading.Thread(target=lambda: Task(str).breaker(breaker)(7).run(executor="virtual"))
    elsewhere.start()
    elsewhere.join()
    breaker.open()
    await world.pause(41)
    assert (await world.run(chain(7))).result == Success("a")
