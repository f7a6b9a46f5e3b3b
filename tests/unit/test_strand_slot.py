"""A strand moves its limit without a lock, also while the timer looks at it."""

from __future__ import annotations

import threading
from math import inf

import pytest
from strands import begin, make, shut

from rio_chain.executors._current_strand import current_strand
from rio_chain.executors._strand_slot import StrandDeadline

OLD, FAR = -1.0, inf


class Watched(StrandDeadline):
    """A limit at which the timer reads what ``moments`` say, one after the other, each of which may take a while."""

    __slots__ = ("at", "moments")

    @property
    def deadline(self):
        return self.moments.pop(0)() if self.moments else self.at

    @deadline.setter
    def deadline(self, at):
        self.at = at

    def __init__(self):
        self.moments = []
        super().__init__()


@pytest.mark.parametrize("look", [1, 2])
def test_a_limit_that_moves_on_while_the_timer_looks_interrupts_nothing(look):
    """The strand ends its call, arms anew and begins the next one, between two looks of the timer."""
    rt = make()
    limit = Watched()
    rt._kernel.limits.append(limit)
    ready, first, second, over = (threading.Event() for _ in range(4))
    strands = []

    def last():
        second.set()
        return over.wait(5) and "answer"

    async def main():
        strands.append(current_strand())
        slot = rt.slot()
        limit.at = OLD  # as if armed; here the test is the timer
        await rt.call(lambda: ready.set() or first.wait(5), (), {})
        slot.arm(FAR)
        return await rt.call(last, (), {})

    def moves_on():
        first.set()
        second.wait(0.05)  # where the strand has seen that the timer is at work, it waits for that
        return OLD

    ends = begin(rt, main)
    assert ready.wait(5)
    limit.moments = [lambda: OLD] * (look - 1) + [moves_on]
    strands[0].expire(limit, 0.0)
    limit.moments = []
    first.set()
    over.set()
    got = ends.get(timeout=5)
    shut(rt)
    assert got == "answer"
