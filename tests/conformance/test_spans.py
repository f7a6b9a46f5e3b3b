"""Spans: when each call of a task ran, and how it ended."""

from __future__ import annotations

import pytest
from conformance.harness import World
from conformance.policies.backends import HANG, backend

from rio_chain import Backoff, Breaker, Response, Task, each
from rio_chain.results._task_record import KEPT_SPANS


def spans_of(response: Response) -> list[tuple[int, int, str]]:
    """Attempt, replica and status of each call."""
    return [(span.attempt, span.replica, span.status) for span in response.spans]


def ran(world: World, response: Response, *times: tuple[float, float]) -> bool:
    """Whether its calls ran from when to when, in milliseconds since the run began."""
    spans = response.spans
    right = len(spans) == len(times) and all(span.began <= span.ended for span in spans)
    if not world.virtual:
        return right and all(span.began >= began - 1 for span, (began, _) in zip(spans, times, strict=True))
    got = [(span.began, span.ended) for span in spans]
    return right and all(pair == pytest.approx(want, abs=1e-6) for pair, want in zip(got, times, strict=True))


async def test_a_call_that_answers_at_once_is_one_span(world: World) -> None:
    first, second = backend(world, (5, "a")), backend(world, (7, "b"))
    outcome = await world.run((Task(first.fetch).named("a") >> Task(second.fetch).named("b"))(7))
    assert spans_of(outcome["a"]) == spans_of(outcome["b"]) == [(1, 0, "succeeded")]
    assert ran(world, outcome["a"], (0, 5))
    assert ran(world, outcome["b"], (5, 12))
    assert outcome["b"].spans[0].error is None


async def test_a_backoff_is_the_gap_between_two_spans(world: World) -> None:
    back = backend(world, (5, OSError("x")), (HANG, "a"), (5, "b"))
    chain = Task(back.fetch).timeout(world.short).retry(2, backoff=Backoff(base=10, factor=1, jitter="none"))
    only = (await world.run(chain(7))).only
    assert spans_of(only) == [(1, 0, "failed"), (2, 0, "timed_out"), (3, 0, "succeeded")]
    assert [span.error for span in only.spans] == [*only.errors, None]
    late = 15 + world.short
    assert ran(world, only, (0, 5), (15, late), (late + 10, late + 15))
    assert only.spans[0].elapsed == only.spans[0].ended - only.spans[0].began


async def test_a_hedge_is_a_span_that_overlaps(world: World) -> None:
    back = backend(world, (HANG, "a"), (5, "b"))
    only = (await world.run(Task(back.fetch).replica(2, after=20)(7))).only
    assert spans_of(only) == [(1, 0, "cancelled"), (1, 1, "succeeded")]
    assert ran(world, only, (0, 25), (20, 25))
    assert only.winner == 1


async def test_replicas_that_are_retried_count_each_their_own(world: World) -> None:
    back = backend(world, *[(1, OSError())] * 4)
    only = (await world.run(Task(back.fetch).retry(1, backoff=None).replica(2)(7))).only
    assert sorted(spans_of(only)) == [(1, 0, "failed"), (1, 1, "failed"), (2, 0, "failed"), (2, 1, "failed")]
    begins = [span.began for span in only.spans]
    assert begins == sorted(begins)


async def test_a_limit_around_replicas_ends_them_all(world: World) -> None:
    back = backend(world, (HANG, "a"), (HANG, "b"))
    only = (await world.run(Task(back.fetch).replica(2).timeout(world.short)(7))).only
    assert spans_of(only) == [(1, 0, "timed_out"), (1, 1, "timed_out")]


async def test_an_answer_that_is_not_accepted_is_a_failed_call(world: World) -> None:
    back = backend(world, (1, "bad"), (1, "good"))
    only = (await world.run(Task(back.fetch).retry(1, backoff=None, accept="good".__eq__)(7))).only
    assert spans_of(only) == [(1, 0, "failed"), (2, 0, "succeeded")]


async def test_a_turn_without_a_call_leaves_the_spans_as_they_are(world: World) -> None:
    """The second turn is refused by the breaker: how the first call ended is not recorded again."""
    back, other = backend(world, (1, "a")), backend(world, (1, OSError()), (1, OSError()))
    breaker = Breaker(failures=1)
    chain = (Task(back.fetch).named("a").breaker(breaker) >> Task(other.fetch).named("b").breaker(breaker)).retry(
        1, backoff=None
    )
    outcome = await world.run(chain(7))
    assert outcome["a"].status == "failed"
    assert spans_of(outcome["a"]) == [(1, 0, "succeeded")]
    assert spans_of(outcome["b"]) == [(1, 0, "failed")]


async def test_a_task_that_did_not_run_has_none(world: World) -> None:
    back = backend(world, (1, OSError()))
    outcome = await world.run((Task(back.fetch).named("a") >> Task(str))(7))
    assert outcome["str"].spans == ()


async def test_the_first_hundred_are_kept(world: World) -> None:
    back = backend(world, *[(0, OSError())] * (KEPT_SPANS + 50))
    only = (await world.run(Task(back.fetch).retry(KEPT_SPANS + 49, backoff=None)(7))).only
    assert only.attempts == KEPT_SPANS + 50
    assert spans_of(only) == [(n + 1, 0, "failed") for n in range(KEPT_SPANS)]


async def test_each_item_has_its_own(world: World) -> None:
    back = backend(world, (1, OSError()), (1, "a"), (1, "b"))
    chain = each(Task(back.fetch).retry(1, backoff=None), limit=1)
    only = (await world.run(chain([1, 2]))).only
    assert only.spans == ()
    assert [spans_of(item) for item in only.items] == [[(1, 0, "failed"), (2, 0, "succeeded")], [(1, 0, "succeeded")]]
    assert ran(world, only.items[1], (2, 3))


async def test_times_count_from_the_start_of_the_run_and_not_of_the_queue(world: World) -> None:
    back = backend(world, *[(20, "a")] * 2)
    async with world.balancer(workers=1) as balancer:
        tickets = [balancer.post(Task(back.fetch)(n)) for n in range(2)]
        second = [await ticket for ticket in tickets][1]
    assert second.queued >= 10
    assert ran(world, second.only, (0, 20))
