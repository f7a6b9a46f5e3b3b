"""The queue against a model so simple that it must be right: a list, sorted each time."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from rio_chain import Task
from rio_chain.balancer._priority_queue import Turn, TurnQueue
from rio_chain.engine._current_run import Run

RUN = Run(Task(len).plan())
priorities = st.integers(-2, 2) | st.integers(-8, 8).map(lambda n: n / 8)  # so that no sum here is rounded


class Model(RuleBasedStateMachine):
    waiting = Bundle("waiting")

    @initialize(workers=st.integers(1, 4), aging=st.sampled_from([None, 0.5, 1.0, 100.0]))
    def begin(self, workers: int, aging: float | None) -> None:
        self.queue = TurnQueue(workers, aging)
        self.aging = aging
        self.at = 0.0
        self.line: list[Turn] = []  # in order of arrival
        self.running = 0
        self.all: list[Turn] = []

    def expected(self) -> Turn | None:
        """The best first, then arrival: ``max`` gives the first of equals. With aging, time waited counts as well."""
        aging = self.aging
        if aging is None:
            return max(self.line, key=lambda turn: turn.priority, default=None)
        return max(self.line, key=lambda turn: turn.priority + (self.at - turn.at) / aging, default=None)

    @rule(seconds=st.sampled_from([0.125, 1, 64, 1024]))
    def time_goes_by(self, seconds: float) -> None:
        """This does not change the order of waiting turns: ``expected`` uses it, the queue never looks."""
        before = self.expected()
        self.at += seconds
        assert self.expected() is before

    @rule(target=waiting, priority=priorities)
    def arrive(self, priority: float) -> object:
        free = self.running < self.queue.workers
        taken = self.queue.take()
        assert taken == (free and not self.line)
        if taken:
            self.running += 1
            return multiple()
        turn = Turn(RUN, priority, self.at)
        self.queue.enter(turn)
        self.line.append(turn)
        self.all.append(turn)
        return turn

    @rule(target=waiting, count=st.integers(50, 200), priority=priorities)
    def rush(self, count: int, priority: float) -> object:
        arrived = [self.arrive(priority + n % 3) for n in range(count)]
        return multiple(*(turn for turn in arrived if isinstance(turn, Turn)))

    @rule()
    def leave(self) -> None:
        if not self.running:
            return
        expected = self.expected()
        assert self.queue.leave() is expected
        if expected is None:
            self.running -= 1
        else:
            self.line.remove(expected)
            assert expected.state == "granted"

    @rule(turn=waiting)
    def withdraw(self, turn: Turn) -> None:
        state = turn.state
        assert self.queue.withdraw(turn) == (state != "granted")
        if state == "waiting":
            self.line.remove(turn)
            assert turn.state == "gone"
        else:
            assert turn.state == state

    @rule(turns=st.lists(consumes(waiting), max_size=150))
    def withdraw_many(self, turns: list[Turn]) -> None:
        for turn in turns:
            self.withdraw(turn)

    @rule()
    def clear(self) -> None:
        assert set(self.queue.clear()) == set(self.line)
        assert all(turn.state == "gone" for turn in self.line)
        self.line = []

    @invariant()
    def the_counts_are_right(self) -> None:
        queue = self.queue
        assert (queue.running, queue.waiting) == (self.running, len(self.line))
        assert all(turn.state == "waiting" for turn in self.line)

    @invariant()
    def slots_are_never_exceeded_and_nobody_waits_while_one_is_free(self) -> None:
        queue = self.queue
        assert 0 <= queue.running <= queue.workers
        assert not queue.waiting or queue.running == queue.workers

    @rule()
    def leave_many(self) -> None:
        for _ in range(self.queue.waiting // 2):
            self.leave()

    @invariant()
    def those_who_are_gone_do_not_pile_up(self) -> None:
        assert len(self.queue._heap) <= 2 * self.queue.waiting + 64

    def teardown(self) -> None:
        """All leave: every waiting turn gets a slot, in order, and nothing is left."""
        if not hasattr(self, "queue"):
            return
        while self.running:
            self.leave()
        assert not self.line
        assert self.queue.running == self.queue.waiting == len(self.queue._heap) == 0


def test_turns_that_are_gone_are_removed_also_when_the_others_leave() -> None:
    """The last in line are cancelled, so that none of them ever comes to the top of the heap."""
    queue = TurnQueue(1)
    assert queue.take()
    turns = [Turn(RUN, -number) for number in range(1_000)]
    for turn in turns:
        queue.enter(turn)
    for turn in turns[500:]:
        queue.withdraw(turn)
    while queue.waiting:
        queue.leave()
        assert len(queue._heap) <= 2 * queue.waiting + 64


@pytest.mark.parametrize("aging", [None, 1.0])
def test_what_a_withdrawal_costs_does_not_grow_with_the_line(aging: float | None) -> None:
    """Counted, not timed: how many entries are looked at to drop turns that are gone, for each that goes."""
    looked: dict[int, float] = {}
    for size in (1_000, 8_000):
        queue, draw = Counting(1, aging), random.Random(size)
        assert queue.take()
        turns = [Turn(RUN, draw.randrange(5), draw.random()) for _ in range(size)]
        for turn in turns:
            queue.enter(turn)
        draw.shuffle(turns)
        for turn in turns:
            queue.withdraw(turn)
        looked[size] = queue.looked / size
    assert all(each < 4 for each in looked.values()), looked


class Counting(TurnQueue):
    """Counts the entries that are looked at."""

    __slots__ = ("looked",)

    def __init__(self, workers: int, aging: float | None) -> None:
        super().__init__(workers, aging)
        self.looked = 0

    def _tidy(self) -> None:
        before = len(self._heap)
        super()._tidy()
        if len(self._heap) < before:
            self.looked += before


Model.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTurnQueue = Model.TestCase
