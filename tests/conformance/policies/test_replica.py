"""Replicas: when each call begins, which answer wins, and what becomes of the others."""

from __future__ import annotations

import threading

import pytest
from conformance.harness import World
from conformance.policies.backends import HANG, AsyncClosable, Closable, backend
from returns.result import Failure, Success

from rio_chain import BridgeFailed, Quantile, Task, TaskTimedOut, best, first

# --- when the next begins ---------------------------------------------------------------------------------------


async def test_the_second_call_begins_when_the_first_is_late(world: World) -> None:
    back = backend(world, (HANG, "a"), (5, "b"))
    outcome = await world.run(Task(back.fetch).replica(2, after=20)(7))
    only = outcome.only
    assert outcome.result == Success("b")
    assert back.started(0, 20)
    assert world.about(outcome.elapsed, 25)
    assert (only.status, only.attempts, only.started, only.winner, only.wasted, only.denied) == (
        "succeeded", 2, 2, 1, 1, 0,
    )  # fmt: skip
    assert back.ends == ["cancelled", "answered"]


async def test_no_second_call_when_the_first_is_in_time(world: World) -> None:
    back = backend(world, (1, "a"))
    outcome = await world.run(Task(back.fetch).replica(3, after=5_000)(7))
    only = outcome.only
    assert outcome.result == Success("a")
    assert (len(back.calls), only.attempts, only.started, only.winner, only.wasted) == (1, 1, 1, 0, 0)


async def test_the_next_begins_as_soon_as_one_has_failed(world: World) -> None:
    back = backend(world, (5, OSError("a")), (5, "b"))
    outcome = await world.run(Task(back.fetch).replica(3, after=5_000)(7))
    assert outcome.result == Success("b")
    assert back.started(0, 5)
    assert [str(e) for e in outcome.only.errors] == ["a"]
    assert (outcome.only.winner, outcome.only.started, outcome.only.wasted) == (1, 2, 1)


async def test_the_delay_counts_from_the_start_of_the_last(world: World) -> None:
    after = world.short
    back = backend(world, (1, OSError("a")), (HANG, "b"), (HANG, "c"), (1, "d"))
    outcome = await world.run(Task(back.fetch).replica(4, after=after)(7))
    assert outcome.result == Success("d")
    if world.virtual:
        assert back.started(0, 1, 1 + after, 1 + 2 * after)
    assert back.starts[3] >= 2 * after - 1
    assert back.ends == ["failed", "cancelled", "cancelled", "answered"]


async def test_no_delay_is_all_at_once(world: World) -> None:
    back = backend(world, (HANG, "a"), (HANG, "b"), (5, "c"))
    outcome = await world.run(Task(back.fetch).replica(3)(7))
    assert outcome.result == Success("c")
    assert back.started(0, 0, 0)
    assert world.about(outcome.elapsed, 5)
    assert (outcome.only.winner is not None, outcome.only.started, outcome.only.wasted) == (True, 3, 2)


async def test_one_at_a_time(world: World) -> None:
    back = backend(world, (10, OSError("a")), (5, OSError("b")), (1, "c"))
    outcome = await world.run(Task(back.fetch).replica(4, after=None)(7))
    assert outcome.result == Success("c")
    assert back.started(0, 10, 15)
    assert back.most == 1
    assert (outcome.only.attempts, outcome.only.started, outcome.only.winner) == (3, 3, 2)


async def test_replicas_without_a_retry_are_so_many_calls(world: World) -> None:
    back = backend(world, (1, OSError("x")))
    outcome = await world.run(Task(back.fetch).replica(5)(7))
    assert len(back.calls) == outcome.only.attempts == 5


async def test_one_replica_is_one_call(world: World) -> None:
    back = backend(world, (1, "a"))
    outcome = await world.run(Task(back.fetch).replica(1)(7))
    assert (outcome.result, len(back.calls), outcome.only.winner) == (Success("a"), 1, 0)


async def test_every_replica_gets_the_same_input_and_knows_which_it_is(world: World) -> None:
    value = object()
    back = backend(world, (1, OSError("x")))
    await world.run(Task(back.fetch).replica(3, after=None).retry(1, backoff=None)(value))
    assert [(call.attempt, call.replica) for call in back.calls] == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]
    assert all(call.given is value for call in back.calls)


async def test_a_replica_within_another_knows_its_round_too(world: World) -> None:
    back = backend(world, (1, OSError("x")))
    await world.run(Task(back.fetch).replica(2, after=None).replica(1).retry(1, backoff=None)(7))
    assert [(call.attempt, call.replica) for call in back.calls] == [(1, 0), (1, 1), (2, 0), (2, 1)]


async def test_targets_are_called_in_turn(world: World) -> None:
    west, east = backend(world, (1, OSError("w1")), (1, OSError("w2"))), backend(world, (1, OSError("e1")), (1, "e2"))
    chain = Task(west.fetch).replica(4, after=None, to=[Task(east.fetch).named("east")])
    outcome = await world.run(chain(7))
    assert outcome.result == Success("e2")
    assert (len(west.calls), len(east.calls)) == (2, 2)
    assert [call.replica for call in [*west.calls, *east.calls]] == [0, 2, 1, 3]
    assert [(r.status, r.attempts, len(r.errors)) for r in outcome] == [("failed", 2, 2), ("succeeded", 2, 1)]
    assert outcome["east"].winner == 3


async def test_a_target_for_each_is_the_default(world: World) -> None:
    west, east = backend(world, (HANG, "w")), backend(world, (1, "e"))
    outcome = await world.run(Task(west.fetch).replica(to=[Task(east.fetch).named("east")])(7))
    assert outcome.result == Success("e")
    assert (len(west.calls), len(east.calls)) == (1, 1)
    assert [r.status for r in outcome] == ["cancelled", "succeeded"]


# --- failing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 5_000, None])
async def test_when_all_fail_the_first_calls_error_is_the_failure(world: World, after: float | None) -> None:
    errors = [OSError("a"), OSError("b"), OSError("c")]
    back = backend(world, *((2, error) for error in errors), each=True)
    outcome = await world.run(Task(back.fetch).replica(3, after=after)(7))
    assert outcome.result.failure() is errors[0]
    assert set(outcome.only.errors) == set(errors)
    only = outcome.only
    assert (only.status, only.attempts, only.started, only.winner, only.wasted) == ("failed", 3, 3, None, 3)


async def test_the_first_calls_error_also_when_it_comes_last(world: World) -> None:
    errors = [OSError("a"), OSError("b")]
    back = backend(world, (world.short + 20, errors[0]), (0, errors[1]))
    outcome = await world.run(Task(back.fetch).replica(2, after=10)(7))
    assert outcome.result.failure() is errors[0]


async def test_the_failure_of_one_does_not_end_those_in_flight(world: World) -> None:
    back = backend(world, (20, "a"), (1, OSError("b")), each=True)
    outcome = await world.run(Task(back.fetch).replica(2)(7))
    assert outcome.result == Success("a")
    assert sorted(back.ends) == ["answered", "failed"]
    assert (outcome.only.winner, outcome.only.wasted) == (0, 1)


async def test_the_error_value_of_a_returned_failure_counts_as_one(world: World) -> None:
    back = backend(world, (1, Failure("no")), (1, Success("yes")))
    outcome = await world.run(Task(back.fetch).replica(2, after=5_000)(7))
    assert outcome.result == Success("yes")
    assert outcome.only.errors == ("no",)


async def test_each_call_has_the_limit_that_is_inside(world: World) -> None:
    back = backend(world, (HANG, "a"), (HANG, "b"), (1, "c"))
    outcome = await world.run(Task(back.fetch).timeout(world.short).replica(3, after=None)(7))
    assert outcome.result == Success("c")
    assert back.started(0, world.short, 2 * world.short)
    assert [type(e) for e in outcome.only.errors] == [TaskTimedOut, TaskTimedOut]
    assert back.ends == ["cancelled", "cancelled", "answered"]


async def test_a_limit_outside_ends_all(world: World) -> None:
    back = backend(world, (HANG, "a"), cleanup=5)
    outcome = await world.run(Task(back.fetch).replica(2, after=5).timeout(4 * world.short)(7))
    only = outcome.only
    assert type(outcome.result.failure()) is TaskTimedOut
    assert back.started(0, 5)
    assert back.ends == ["cleaned up", "cleaned up"]
    assert (only.status, only.attempts, only.started, only.winner, only.wasted) == ("timed_out", 2, 2, None, 2)


async def test_replicas_of_a_longer_chain(world: World) -> None:
    head, tail = backend(world, (1, "h")), backend(world, (HANG, "a"), (1, "b"))
    chain = (Task(head.fetch).named("head") >> Task(tail.fetch).named("tail")).replica(2, after=20)
    outcome = await world.run(chain(7))
    assert outcome.result == Success("b")
    assert head.started(0, 20)
    assert [(r.attempts, r.status, r.winner, r.wasted) for r in outcome] == [(2, "succeeded", 1, 1)] * 2


# --- the losers -------------------------------------------------------------------------------------------------


async def test_losers_are_cancelled_and_awaited_before_the_answer(world: World) -> None:
    back = backend(world, (HANG, "a"), (HANG, "b"), (5, "c"), cleanup=10)
    outcome = await world.run(Task(back.fetch).replica(3)(7))
    assert outcome.result == Success("c")
    assert sorted(back.ends) == ["answered", "cleaned up", "cleaned up"]
    assert back.running == 0
    assert world.about(outcome.elapsed, 15), "their clean-up delays the answer, as everywhere"


@pytest.mark.parametrize("kind", [Closable, AsyncClosable])
async def test_what_a_loser_answers_after_all_is_closed_and_overwrites_nothing(
    world: World, kind: type[Closable | AsyncClosable]
) -> None:
    late, won = kind("late"), kind("won")

    async def stubborn(x: object) -> object:
        calls.append(x)
        if len(calls) > 1:
            await world.pause(1)
            calls.append("answered")
            return won
        while len(calls) < 3:
            await world.shielded(5)
        await world.shielded(20)
        return late  # it answers, though it was cancelled

    calls: list[object] = []
    outcome = await world.run(Task(stubborn).replica(2, after=5)(7))
    only = outcome.only
    assert outcome.unwrap() is only.result.unwrap() is won
    assert (late.closed, won.closed) == (1, 0)
    assert (only.winner, only.started, only.wasted) == (1, 2, 1)


async def test_a_close_that_fails_hurts_nobody(world: World) -> None:
    class Broken:
        def close(self) -> None:
            raise OSError("close")

    async def fetch(x: object) -> object:
        calls.append(x)
        if len(calls) > 1:
            return "won"
        while len(calls) == 1:
            await world.shielded(1)
        await world.shielded(20)
        return Broken()

    calls: list[object] = []
    outcome = await world.run(Task(fetch).replica(2, after=5)(7))
    assert outcome.result == Success("won")


async def test_one_answer_shared_by_all_is_not_closed(world: World) -> None:
    shared = Closable("shared")
    back = backend(world, (0, shared))
    outcome = await world.run(Task(back.fetch).replica(3)(7))
    assert outcome.unwrap() is shared
    assert shared.closed == 0


@pytest.mark.real_time
async def test_sync_bodies_are_abandoned_and_counted(world: World) -> None:
    world.not_virtual("a sync function takes no time, so no limit ends it")
    go = threading.Event()
    late = Closable("late")
    calls: list[int] = []

    def fetch(x: int) -> object:
        calls.append(x)
        if len(calls) > 1:
            return "won"
        go.wait(5)
        return late

    async with world.balancer(workers=1, threads=4) as balancer:
        outcome = await balancer.arun(Task(fetch).replica(2, after=10)(7))
        assert outcome.result == Success("won")
        assert (outcome.only.winner, outcome.only.wasted, outcome.only.attempts) == (1, 1, 2)
        assert balancer.stats().abandoned == 1, "a thread can't be stopped; it is not waited for"
        go.set()
        await world.until(lambda: balancer.stats().abandoned == 0)
        await world.until(lambda: late.closed == 1)


async def test_cancelling_the_request_ends_all_and_awaits_them(world: World) -> None:
    back = backend(world, (HANG, "a"), cleanup=5)
    child = world.start(lambda: world.run(Task(back.fetch).replica(3)(7)))
    await world.until(lambda: len(back.calls) == 3)
    child.stop()
    assert (await child.ended()).cancelled
    assert back.ends == ["cleaned up"] * 3


async def test_a_base_exception_of_one_ends_all_and_is_raised(world: World) -> None:
    back = backend(world, (HANG, "a"), (20, SystemExit(3)), cleanup=1, each=True)
    child = await world.start(lambda: world.run(Task(back.fetch).replica(2)(7))).ended()
    assert type(child.error) is SystemExit
    assert sorted(back.ends) == ["cleaned up", "failed"]


async def test_a_refused_answer_is_closed_when_another_wins(world: World) -> None:
    bad, good = Closable("bad"), Closable("good")
    back = backend(world, (1, bad), (1, good))
    outcome = await world.run(Task(back.fetch).replica(2, after=None, pick=first(accept=lambda v: v is good))(7))
    assert outcome.unwrap() is good
    assert (bad.closed, good.closed) == (1, 0)


async def test_the_refused_answer_that_the_failure_shows_is_not_closed(world: World) -> None:
    answers = [Closable("a"), Closable("b")]
    back = backend(world, *((1, answer) for answer in answers))
    outcome = await world.run(Task(back.fetch).replica(2, after=None, pick=first(accept=lambda _: False))(7))
    assert outcome.result.failure().value is answers[0]
    assert [answer.closed for answer in answers] == [0, 1]


async def test_answers_collected_when_a_limit_ends_all_are_closed(world: World) -> None:
    early = Closable("early")
    back = backend(world, (1, early), (HANG, "b"), each=True)
    chain = Task(back.fetch).replica(2, pick=best(lambda _: 1, within=5_000)).timeout(world.short)
    outcome = await world.run(chain(7))
    assert type(outcome.result.failure()) is TaskTimedOut
    assert early.closed == 1


# --- quantile ---------------------------------------------------------------------------------------------------


async def test_no_hedge_for_being_late_until_enough_answers_have_come(world: World) -> None:
    back = backend(world, (5, 1), (5, 2), (5, 3), (HANG, 4), (5, 5))
    late = Quantile(0.5, warmup=3)
    chain = Task(back.fetch).replica(2, after=late)
    for k in (1, 2, 3):
        assert (await world.run(chain(7))).result == Success(k)
    assert len(back.calls) == 3
    learned = late.value()
    assert learned is not None
    assert world.about(1000 * learned, 5)
    outcome = await world.run(chain(7))
    assert outcome.result == Success(5)
    assert (outcome.only.winner, outcome.only.started) == (1, 2)
    if world.virtual:
        assert back.calls[4].at - back.calls[3].at == pytest.approx(5)


async def test_without_data_a_failure_still_starts_the_next(world: World) -> None:
    back = backend(world, (5, OSError("a")), (5, "b"))
    outcome = await world.run(Task(back.fetch).replica(2, after=Quantile(0.9))(7))
    assert outcome.result == Success("b")
    assert back.started(0, 5)


async def test_only_winners_teach_the_quantile(world: World) -> None:
    late = Quantile(0.5, warmup=1, window=10)
    failing = backend(world, (5, OSError("x")))
    await world.run(Task(failing.fetch).replica(2, after=late)(7))
    assert late.value() is None, "failures don't"
    refused = backend(world, (5, ""))
    await world.run(Task(refused.fetch).replica(2, after=late, pick=first(accept=bool))(7))
    assert late.value() is None, "what was not accepted doesn't"
    hanging = backend(world, (HANG, ""))
    await world.run(Task(hanging.fetch).replica(2, after=late).timeout(10)(7))
    assert late.value() is None, "those cancelled don't"
    good = backend(world, (8, "a"))
    await world.run(Task(good.fetch).replica(2, after=late)(7))
    value = late.value()
    assert value is not None
    assert world.about(1000 * value, 8)


async def test_after_a_failure_the_answer_counts_from_its_own_call(world: World) -> None:
    late = Quantile(0.5, warmup=1)
    back = backend(world, (10, OSError("a")), (5, "b"))
    await world.run(Task(back.fetch).replica(2, after=late)(7))
    value = late.value()
    assert value is not None
    assert world.about(1000 * value, 5)


async def test_the_answer_of_a_hedge_counts_from_the_first_call(world: World) -> None:
    back = backend(world, (HANG, "a"), (5, "b"))
    learning = Quantile(0.99, warmup=2, window=2)
    learning.add(0.02)
    learning.add(0.02)
    await world.run(Task(back.fetch).replica(2, after=learning)(7))
    value = learning.value()
    assert value is not None
    if world.virtual:
        assert 1000 * value == pytest.approx(20 + 0.99 * 5)


# --- a replica of a replica -------------------------------------------------------------------------------------


async def test_nested_replicas_multiply(world: World) -> None:
    back = backend(world, (1, OSError("x")))
    outcome = await world.run(Task(back.fetch).replica(2).replica(3)(7))
    assert len(back.calls) == outcome.only.attempts == 6
    assert len(outcome.only.errors) == 6


async def test_a_retry_inside_is_one_of_each(world: World) -> None:
    back = backend(world, (1, OSError("x")))
    outcome = await world.run(Task(back.fetch).retry(1, backoff=None).replica(3)(7))
    assert len(back.calls) == outcome.only.attempts == 6


async def test_a_retry_outside_is_a_new_round(world: World) -> None:
    back = backend(world, (1, OSError("a")), (1, OSError("b")), (1, "c"))
    outcome = await world.run(Task(back.fetch).replica(2, after=None).retry(1, backoff=None)(7))
    assert outcome.result == Success("c")
    only = outcome.only
    assert (only.attempts, only.started, only.winner, only.wasted) == (3, 1, 0, 0)
    assert back.started(0, 1, 2)


async def test_a_task_succeeded_though_the_bridge_after_it_failed_in_all(world: World) -> None:
    def bridge(_: object) -> object:
        raise OSError("bridge")

    back = backend(world, (1, "a"))
    outcome = await world.run((Task(back.fetch) >> bridge).replica(2)(7))
    assert type(outcome.result.failure()) is BridgeFailed
    assert (outcome.only.status, outcome.only.errors) == ("succeeded", ())
