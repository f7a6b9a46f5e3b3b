"""Choosers: which of several answers wins, and how long is waited for better ones."""

from __future__ import annotations

from typing import Any

import pytest
from conformance.harness import World
from conformance.policies.backends import HANG, Closable, backend
from returns.result import Success

from rio_chain import Budget, CallbackFailed, NotAccepted, Task, best, first, quorum, race


def number(value: int) -> int:
    return value


# --- first ------------------------------------------------------------------------------------------------------


async def test_the_first_accepted_wins(world: World) -> None:
    back = backend(world, (20, 3), (1, 1), (10, 2), each=True)
    outcome = await world.run(Task(back.fetch).replica(3, pick=first(accept=lambda v: v > 2))(7))
    assert outcome.result == Success(3)
    assert (outcome.only.winner, outcome.only.wasted) == (0, 2)
    assert [type(e) for e in outcome.only.errors] == [NotAccepted, NotAccepted]


async def test_what_is_not_accepted_starts_the_next_at_once(world: World) -> None:
    back = backend(world, (5, 1), (5, 2))
    outcome = await world.run(Task(back.fetch).replica(2, after=5_000, pick=first(accept=lambda v: v > 1))(7))
    assert outcome.result == Success(2)
    assert back.started(0, 5)


async def test_nothing_accepted(world: World) -> None:
    back = backend(world, (1, "a"), (1, "b"), each=True)
    outcome = await world.run(Task(back.fetch).replica(2, pick=first(accept=lambda _: False))(7))
    error = outcome.result.failure()
    assert (type(error), error.value) == (NotAccepted, "a")
    assert (outcome.only.status, outcome.only.winner) == ("failed", None)


async def test_an_accept_that_raises_is_an_error_of_that_answer(world: World) -> None:
    def accept(value: int) -> bool:
        if value == 1:
            raise LookupError("broken")
        return True

    back = backend(world, (1, 1), (1, 2))
    outcome = await world.run(Task(back.fetch).replica(2, after=None, pick=first(accept=accept))(7))
    assert outcome.result == Success(2)
    back = backend(world, (1, 1))
    outcome = await world.run(Task(back.fetch).replica(2, after=None, pick=first(accept=accept)).retry(2)(7))
    error = outcome.result.failure()
    assert type(error) is CallbackFailed
    assert (error.role, error.callback) == ("accept", "accept")
    assert len(back.calls) == 2, "never retried"


# --- best -------------------------------------------------------------------------------------------------------


async def test_the_best_of_those_that_come_within_the_window(world: World) -> None:
    back = backend(world, (1, 5), (10, 9), (HANG, 100), each=True)
    window = 5_000 if not world.virtual else 20
    chosen = best(number, within=window, enough=None if world.virtual else 9)
    outcome = await world.run(Task(back.fetch).replica(3, pick=chosen)(7))
    assert outcome.result == Success(9)
    assert outcome.only.winner == 1
    if world.virtual:
        assert world.about(outcome.elapsed, 21), "counted from the first answer"
    assert sorted(back.ends) == ["answered", "answered", "cancelled"]


async def test_all_have_come_before_the_window_ends(world: World) -> None:
    back = backend(world, (5, 5), (10, 9), (1, 3), each=True)
    outcome = await world.run(Task(back.fetch).replica(3, pick=best(number, within=5_000))(7))
    assert outcome.result == Success(9)
    assert outcome.elapsed < 4_000
    assert not world.virtual or world.about(outcome.elapsed, 10)


async def test_enough_ends_the_window(world: World) -> None:
    back = backend(world, (1, 5), (5, 8), (HANG, 9), each=True)
    outcome = await world.run(Task(back.fetch).replica(3, pick=best(number, within=5_000, enough=8))(7))
    assert outcome.result == Success(8)
    assert outcome.elapsed < 4_000
    assert not world.virtual or world.about(outcome.elapsed, 5)


async def test_the_window_begins_with_the_first_acceptable_answer(world: World) -> None:
    back = backend(world, (1, None), (10, 5), (HANG, 9), each=True)
    score = best(lambda v: v, within=15)
    outcome = await world.run(Task(back.fetch).replica(3, pick=score)(7))
    assert outcome.result == Success(5)
    assert world.about(outcome.elapsed, 25)


async def test_no_window_takes_the_first(world: World) -> None:
    back = backend(world, (1, 5), (HANG, 9), each=True)
    outcome = await world.run(Task(back.fetch).replica(2, pick=best(number, within=0))(7))
    assert outcome.result == Success(5)


async def test_late_replicas_may_begin_within_the_window(world: World) -> None:
    back = backend(world, (5, 5), (5, 9))
    chain = Task(back.fetch).replica(2, after=20, pick=best(number, within=5_000))
    outcome = await world.run(chain(7))
    assert outcome.result == Success(9)
    assert not world.virtual or back.started(0, 20)


async def test_no_acceptable_answer_is_the_first_calls_failure(world: World) -> None:
    back = backend(world, (5, None), (1, None), each=True)
    outcome = await world.run(Task(back.fetch).replica(2, pick=best(lambda v: v, within=20))(7))
    assert type(outcome.result.failure()) is NotAccepted
    error = OSError("first")
    back = backend(world, (5, error), (1, None), each=True)
    outcome = await world.run(Task(back.fetch).replica(2, pick=best(lambda v: v, within=20))(7))
    assert outcome.result.failure() is error


async def test_a_score_that_is_no_number(world: World) -> None:
    back = backend(world, (1, "x"))
    outcome = await world.run(Task(back.fetch).replica(2, pick=best(lambda v: v, within=20))(7))
    error = outcome.result.failure()
    assert (type(error), error.role) == (CallbackFailed, "score")


async def test_the_answers_that_were_not_the_best_are_closed(world: World) -> None:
    answers = [Closable(str(k)) for k in range(3)]
    back = backend(world, *((1, answer) for answer in answers), each=True)
    chosen = best(lambda v: int(v.name), within=5_000)
    outcome = await world.run(Task(back.fetch).replica(3, pick=chosen)(7))
    assert outcome.unwrap() is answers[2]
    assert [answer.closed for answer in answers] == [1, 1, 0]


# --- quorum -----------------------------------------------------------------------------------------------------


async def test_what_k_agree_on_wins(world: World) -> None:
    back = backend(world, (1, "a"), (5, "b"), (10, "b"), each=True)
    outcome = await world.run(Task(back.fetch).replica(3, pick=quorum(2))(7))
    assert outcome.result == Success("b")
    assert outcome.only.wasted == 2


async def test_k_begin_at_once_and_others_when_they_disagree(world: World) -> None:
    back = backend(world, (5, "a"), (10, "b"), (5, "b"), (1, "never"), each=True)
    outcome = await world.run(Task(back.fetch).replica(4, after=5_000, pick=quorum(2))(7))
    assert outcome.result == Success("b")
    assert len(back.calls) == outcome.only.started == 3
    if world.virtual:
        assert back.started(0, 0, 10)


async def test_another_begins_when_one_fails(world: World) -> None:
    back = backend(world, (5, OSError("x")), (20, "b"), (5, "b"), each=True)
    outcome = await world.run(Task(back.fetch).replica(3, after=5_000, pick=quorum(2))(7))
    assert outcome.result == Success("b")
    if world.virtual:
        assert back.started(0, 0, 5)


@pytest.mark.parametrize("after", [0, 5_000])
async def test_it_ends_when_no_k_can_agree_any_more(world: World, after: float) -> None:
    back = backend(world, (1, "a"), (5, "b"), (HANG, "c"), each=True)
    outcome = await world.run(Task(back.fetch).replica(3, after=after, pick=quorum(3))(7))
    error = outcome.result.failure()
    assert type(error) is NotAccepted
    assert outcome.elapsed < 4_000
    assert outcome.only.winner is None
    assert (outcome.only.status, outcome.only.result.failure()) == ("failed", error)


async def test_when_no_k_can_agree_the_error_says_how_it_ended_and_those_stopped_are_cancelled(world: World) -> None:
    """Nothing is left ``running``, in a part of its own or in one that others have come to as well."""
    back = backend(world, (5, OSError("x")), (HANG, "b"), each=True)
    outcome = await world.run(Task(back.fetch).replica(2, pick=quorum(2))(7))
    assert (outcome.only.status, outcome.only.result) == ("failed", outcome.result)
    slow = backend(world, (HANG, "b"))
    failing = backend(world, (5, OSError("x")))
    chain = race(Task(failing.fetch), Task(slow.fetch).named("slow"), pick=quorum(2))
    assert [r.status for r in await world.run(chain(7))] == ["failed", "cancelled"]
    back = backend(world, (5, OSError("x")), (1, "b"), each=True)
    longer = (Task(back.fetch) >> Task(slow.fetch).named("slow")).replica(2, pick=quorum(2))
    assert [r.status for r in await world.run(longer(7))] == ["failed", "cancelled"]


async def test_when_a_budget_denies_the_others_the_one_that_runs_is_waited_for(world: World) -> None:
    back = backend(world, (10, "a"))
    chain = Task(back.fetch).replica(2, pick=quorum(2)).budget(Budget(0, floor=0))
    outcome = await world.run(chain(7))
    error = outcome.result.failure()
    assert (type(error), error.value) == (NotAccepted, "a")
    assert (outcome.only.status, outcome.only.denied, len(back.calls)) == ("failed", 1, 1)


@pytest.mark.real_time
@pytest.mark.parametrize("pick", ["first", "best"])
async def test_a_limit_that_was_kept_has_no_say_in_how_an_answer_is_judged(world: World, pick: str) -> None:
    async def answers(x: int) -> int:
        return x

    def judge(_: object) -> bool:
        world.block(50)
        return True

    chooser = first(accept=judge) if pick == "first" else best(judge, within=1)
    outcome = await world.run(Task(answers).timeout(45).replica(2, after=None, pick=chooser)(7))
    assert outcome.result == Success(7)
    assert outcome.only.status == "succeeded"


async def test_agreement_by_a_key_and_of_things_that_cannot_be_hashed(world: World) -> None:
    back = backend(world, (1, [1, "x"]), (5, [1, "y"]), each=True)
    outcome = await world.run(Task(back.fetch).replica(2, pick=quorum(2, by=lambda v: v[:1]))(7))
    assert outcome.result == Success([1, "x"])


async def test_a_comparison_that_raises_is_an_error_of_the_chooser(world: World) -> None:
    class Odd:
        def __eq__(self, other: object) -> Any:
            raise LookupError("odd")

        __hash__ = None  # type: ignore[assignment]

    back = backend(world, (1, Odd()))
    outcome = await world.run(Task(back.fetch).replica(2, pick=quorum(2)).retry(2, backoff=None)(7))
    error = outcome.result.failure()
    assert (type(error), error.role) == (CallbackFailed, "pick")
    assert len(back.calls) == 2
