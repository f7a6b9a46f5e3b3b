"""The core, which every thread may call, against a naive model: lists, and a slot for each of the best in line."""

from __future__ import annotations

import pytest
from amid import amid
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from rio_chain import BalancerClosed, QueueFull, Task
from rio_chain.balancer._admission import Admission
from rio_chain.balancer._managed_admission import ManagedAdmission
from rio_chain.balancer._priority_queue import Turn
from rio_chain.engine._current_run import Run

PLAN = Task(len).plan()


class Model(RuleBasedStateMachine):
    """``line`` and ``running`` are what should be so; ``woken`` counts how often each turn was woken."""

    turns = Bundle("turns")

    @initialize(
        workers=st.integers(1, 3), buffer=st.integers(0, 6), aging=st.sampled_from([None, 1.0, 8.0]), fair=st.booleans()
    )
    def begin(self, workers: int, buffer: int, aging: float | None, fair: bool) -> None:
        self.admission = Admission(workers, buffer, aging)
        if fair and aging is None:  # with one tenant, shares change nothing
            self.admission = ManagedAdmission(workers, buffer, None, {}, None, late=False)
        self.workers, self.buffer, self.aging = workers, buffer, aging
        self.at = 0
        self.line: list[Turn] = []
        self.running: list[Turn] = []
        self.over: list[Turn] = []
        self.woken: dict[Turn, int] = {}
        self.to_be_woken: dict[Turn, int] = {}
        self.closed = False
        self.rejected = self.done = 0

    # --- the model --------------------------------------------------------------------------------------------------

    def rank(self, turn: Turn) -> float:
        return -turn.priority if self.aging is None else turn.at - turn.priority * self.aging

    def fill(self) -> None:
        """Free slots go to waiting turns, and each of them is woken."""
        while self.line and len(self.running) < self.workers:
            turn = min(self.line, key=self.rank)
            self.line.remove(turn)
            self.running.append(turn)
            self.to_be_woken[turn] += 1

    def ends(self, turn: Turn) -> None:
        self.running.remove(turn)
        self.over.append(turn)
        self.fill()

    # --- what is done to both -----------------------------------------------------------------------------------------

    def made(self, priority: int) -> Turn:
        self.at += 1
        turn = Turn(Run(PLAN), priority, self.at)
        self.woken[turn] = self.to_be_woken[turn] = 0

        def tell() -> None:
            self.woken[turn] += 1

        turn.wake = tell
        return turn

    @rule(target=turns, priority=st.integers(-2, 2), bounded=st.booleans())
    def post(self, priority: int, bounded: bool) -> object:
        turn = self.made(priority)
        free = len(self.running) < self.workers
        if self.closed:
            with pytest.raises(BalancerClosed):
                self.admission.admit(turn, bounded=bounded)
            return multiple()
        if not free and bounded and len(self.line) >= self.buffer:
            self.rejected += 1
            with pytest.raises(QueueFull):
                self.admission.admit(turn, bounded=bounded)
            return multiple()
        assert self.admission.admit(turn, bounded=bounded) is free
        (self.running if free else self.line).append(turn)
        return turn

    @rule(target=turns)
    def take(self) -> object:
        """A run comes without a turn, and gets a slot or nothing."""
        turn = self.made(0)
        if isinstance(self.admission, ManagedAdmission):  # it asks for a turn
            assert not self.admission.take(turn.run)
            return multiple()
        assert self.admission.take(turn.run) is (not self.closed and len(self.running) < self.workers)
        if turn.run not in self.admission.runs:
            return multiple()
        turn.state = "granted"  # for the rules below
        self.running.append(turn)
        return turn

    @rule(target=turns, priority=st.integers(-2, 2))
    def post_from_a_finaliser(self, priority: int) -> object:
        """It comes in the middle of a decision, is put aside, and done after it; a full buffer does not refuse it."""
        turn = self.made(priority)
        with amid(self.admission):
            assert self.admission.admit(turn, bounded=True) is False
            assert turn.state == "waiting"
        self.admission._after()  # what every call ends with
        if self.closed:
            self.over.append(turn)
            self.to_be_woken[turn] += 1
        elif len(self.running) < self.workers:
            self.running.append(turn)
            self.to_be_woken[turn] += 1
        else:
            self.line.append(turn)
        return turn

    @rule(turn=turns)
    def leave(self, turn: Turn) -> None:
        """Its run ends; also one whose slot was taken from it before."""
        if turn not in self.line:
            self.admission.leave(turn.run, 0.0, 0.0)
            self.done += 1
        if turn in self.running:
            self.ends(turn)

    @rule(turn=turns)
    def withdraw(self, turn: Turn) -> None:
        """As a ticket does that is cancelled in the line."""
        assert self.admission.withdraw(turn) is (turn in self.line)
        if turn in self.line:
            self.line.remove(turn)
            self.over.append(turn)
            self.to_be_woken[turn] += 1

    @rule(turn=turns)
    def cancel(self, turn: Turn) -> None:
        """As a task does that is cancelled: in the line, or between the hand-over and its wake."""
        self.admission.give_up(turn)
        if turn in self.line:
            self.line.remove(turn)
            self.over.append(turn)
            self.to_be_woken[turn] += 1
        elif turn in self.running:
            self.ends(turn)

    @rule()
    def close(self) -> None:
        assert self.admission.shut() is not self.closed
        self.closed = True

    @rule()
    def clear(self) -> None:
        """As ``close`` does when its grace is over."""
        assert set(self.admission.clear()) == {turn.run for turn in self.running}
        for turn in self.line:
            self.to_be_woken[turn] += 1
        self.over += self.line
        self.line = []

    @rule()
    def wait_until_idle(self) -> None:
        called: list[bool] = []
        self.admission.when_idle(lambda: called.append(True))
        assert bool(called) is not bool(self.line or self.running)
        self.admission._idle.clear()

    # --- what is always so --------------------------------------------------------------------------------------------

    @invariant()
    def all_are_where_they_should_be(self) -> None:
        for state, turns in (("waiting", self.line), ("granted", self.running)):
            assert [turn for turn in turns if turn.state != state] == []
        assert not [turn for turn in self.over if turn.state == "waiting"]
        assert set(self.admission.runs) == {turn.run for turn in self.running}

    @invariant()
    def each_was_told_as_often_as_it_should_be(self) -> None:
        assert self.woken == self.to_be_woken

    @invariant()
    def the_counts_are_right(self) -> None:
        stats = self.admission.stats(0)
        assert (stats.running, stats.queued) == (len(self.running), len(self.line))
        assert (stats.done, stats.rejected) == (self.done, self.rejected)
        assert stats.running <= self.workers

    def teardown(self) -> None:
        """All leave, and nothing is left."""
        if not hasattr(self, "admission"):
            return
        while self.running:
            self.leave(self.running[0])
        assert not self.line
        assert (self.admission.queue.running, self.admission.queue._heap, self.admission.runs) == (0, [], {})
        self.each_was_told_as_often_as_it_should_be()


Model.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestCore = Model.TestCase
