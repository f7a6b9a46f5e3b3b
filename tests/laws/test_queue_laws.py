"""The queue against a model so simple that it must be right: a list, sorted each time."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from rio_chain import Task
from rio_chain.balancer.queue import Turn, TurnQueue
from rio_chain.engine.current import Run

RUN = Run(Task(len).plan())
priorities = st.integers(-2, 2) | st.floats(-1, 1)


class Model(RuleBasedStateMachine):
    waiting = Bundle("waiting")

    @initialize(workers=st.integers(1, 4))
    def begin(self, workers: int) -> None:
        self.queue = TurnQueue(workers)
        self.line: list[Turn] = []  # in order of arrival
        self.running = 0
        self.all: list[Turn] = []

    def expected(self) -> Turn | None:
        """Highest priority first, then arrival: ``max`` gives the first of equals."""
        return max(self.line, key=lambda turn: turn.priority, default=None)

    @rule(target=waiting, priority=priorities)
    def arrive(self, priority: float) -> object:
        free = self.running < self.queue.workers
        taken = self.queue.take()
        assert taken == (free and not self.line)
        if taken:
            self.running += 1
            return multiple()
        turn = Turn(RUN, priority)
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

    @invariant()
    def those_who_are_gone_do_not_pile_up(self) -> None:
        assert len(self.queue._heap) <= 2 * self.queue.waiting + 65

    def teardown(self) -> None:
        """All leave: everybody who waits gets a slot, in order, and nothing is left."""
        if not hasattr(self, "queue"):
            return
        while self.running:
            self.leave()
        assert not self.line
        assert self.queue.running == self.queue.waiting == len(self.queue._heap) == 0


Model.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestTurnQueue = Model.TestCase
