"""The priority queue by itself, whose heap still holds turns that have gone."""

from __future__ import annotations

from rio_chain import Task
from rio_chain.balancer._priority_queue import Turn, TurnQueue
from rio_chain.engine._current_run import Run

RUN = Run(Task(len).plan())


def a_line(priorities: list[float]) -> tuple[TurnQueue, list[Turn]]:
    """One slot, which is taken, and the turns that wait for it."""
    queue = TurnQueue(1)
    assert queue.take()
    turns = [Turn(RUN, priority) for priority in priorities]
    for turn in turns:
        queue.enter(turn)
    return queue, turns


def test_turns_that_are_gone_are_removed_when_nothing_leaves() -> None:
    queue, turns = a_line([0] * 500)
    for turn in turns:
        queue.withdraw(turn)
        assert len(queue._heap) <= 2 * queue.waiting + 64


def test_the_order_stays_when_turns_that_are_gone_are_removed() -> None:
    # In the heap the second row is 1 and 3, and under 1 are the ones; without its top, 3 would not come first.
    queue, turns = a_line([float(number * 37 % 401) for number in range(400)])
    for turn in turns:
        if turn.priority > 100:
            queue.withdraw(turn)
    left = sorted((turn.priority for turn in turns if turn.state == "waiting"), reverse=True)
    came = [turn.priority for _ in left if (turn := queue.leave()) is not None]
    assert came == left


def test_a_turn_that_is_gone_is_not_given_when_the_queue_is_cleared() -> None:
    queue, (gone, waiting) = a_line([0, 0])
    queue.withdraw(gone)
    assert queue.clear() == [waiting]
    assert (queue.waiting, queue.clear(), waiting.state) == (0, [], "gone")
