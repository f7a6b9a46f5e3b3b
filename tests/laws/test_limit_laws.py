"""A Limit with costs, priorities and any kind of window does what a plain model says, start by start.

The model knows nothing of buckets and heaps. It keeps lists, and counts them again for every question. All numbers are
multiples of an eighth, so that no sum is rounded.
"""

from __future__ import annotations

import math
from typing import Any

from attrs import define, field
from fake_clock import FakeClock
from hypothesis import given, settings
from hypothesis import strategies as st

from rio_chain import Limit, LimitExceeded
from rio_chain.policies import Call
from rio_chain.policies._permit import PendingPermit

STEP = 0.125


@define
class Wanted:
    """A call of the model."""

    number: int
    at: float
    rank: float
    cost: float


@define
class Model:
    """The calls that wait, and those that have begun, in lists."""

    places: int | None
    rate: float | None  # tokens per second
    depth: float
    sliding: bool
    aging: float | None
    queue: int | None
    waiting: list[Wanted] = field(factory=list)
    running: dict[int, float] = field(factory=dict)
    starts: list[tuple[float, float]] = field(factory=list)  # when, and the cost
    begun: list[tuple[int, float]] = field(factory=list)
    refused: set[int] = field(factory=set)

    def level(self, now: float) -> float:
        """The tokens that are left, counted from the beginning."""
        if self.rate is None:
            return math.inf
        if self.sliding:
            return self.depth - sum(cost for at, cost in self.starts if at > now - 1)
        level, last = self.depth, 0.0
        for at, cost in self.starts:
            level = min(self.depth, level + (at - last) * self.rate) - cost
            last = at
        return min(self.depth, level + (now - last) * self.rate)

    def fits(self, cost: float, now: float) -> bool:
        return (self.places is None or sum(self.running.values()) + cost <= self.places) and cost <= self.level(now)

    def ask(self, number: int, now: float, priority: float, cost: float) -> None:
        rank = -priority if self.aging is None else now - priority * self.aging
        most = min(math.inf if self.places is None else self.places, math.inf if self.rate is None else self.depth)
        wanted = Wanted(number, now, rank, cost)
        first = not any(other.rank <= rank for other in self.waiting)
        if cost > most or (not (first and self.fits(cost, now)) and len(self.waiting) == self.queue):
            self.refused.add(number)
            return
        self.waiting.append(wanted)
        self.serve(now)

    def serve(self, now: float) -> None:
        while self.waiting:
            head = min(self.waiting, key=lambda w: (w.rank, w.number))
            if not self.fits(head.cost, now):
                return
            self.waiting.remove(head)
            self.running[head.number] = head.cost
            self.starts.append((now, head.cost))
            self.begun.append((head.number, now))


@define
class Real:
    """The callers of the real one, which ask when their timers say so."""

    limit: Limit
    clock: FakeClock
    waiting: dict[int, tuple[Any, list[bool], float]] = field(factory=dict)  # the pending one, woken, its timer
    permits: dict[int, Any] = field(factory=dict)
    begun: list[tuple[int, float]] = field(factory=list)
    refused: set[int] = field(factory=set)

    def ask(self, number: int, priority: float, cost: float) -> None:
        got = self.limit.enter(Call(clock=self.clock, priority=priority, cost=cost))
        if isinstance(got, LimitExceeded):
            self.refused.add(number)
        elif isinstance(got, PendingPermit):
            woken: list[bool] = []
            got.wake = lambda: woken.append(True)
            self.waiting[number] = got, woken, self.due(got)
        else:
            self.begin(number, got)
        self.settle()

    def due(self, pending: Any) -> float:
        return math.inf if pending.after is None else self.clock() + pending.after

    def begin(self, number: int, permit: Any) -> None:
        self.permits[number] = permit
        self.begun.append((number, self.clock()))

    def settle(self) -> None:
        again = True
        while again:
            again = False
            for number, (pending, woken, due) in list(self.waiting.items()):
                if pending.state == "waiting" and (woken or self.clock() >= due - 1e-12):
                    woken.clear()
                    pending.ask(self.clock)
                    self.waiting[number] = pending, woken, self.due(pending)
                    again = True
                if pending.state == "granted":
                    del self.waiting[number]
                    self.begin(number, pending.permit)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from([0, 0, 1, 5]), st.sampled_from([0.5, 1, 1, 2, 3.5, 9])),
        st.tuples(st.just("ask"), st.sampled_from([0, 0, 1, 5]), st.sampled_from([0.5, 1, 1, 2, 3.5, 9])),
        st.tuples(st.sampled_from(["end", "leave"]), st.integers(0, 9)),
        st.tuples(st.just("move"), st.integers(1, 16)),
    ),
    max_size=50,
)


@settings(max_examples=500)
@given(
    st.none() | st.integers(1, 6),
    st.sampled_from([None, 1, 2, 4, 8]),
    st.none() | st.integers(1, 8),
    st.booleans(),
    st.sampled_from([None, 0.5, 2]),
    st.none() | st.integers(0, 3),
    steps,
)
def test_a_limit_does_what_a_list_says(  # noqa: PLR0917
    places: int | None,
    rate: int | None,
    burst: int | None,
    sliding: bool,
    aging: float | None,
    queue: int | None,
    script: list[tuple[Any, ...]],
) -> None:
    if places is None and rate is None:
        places = 2
    sliding, burst = sliding and rate is not None, None if rate is None or sliding else burst
    limit = Limit(
        places,
        rate=rate,
        burst=burst,
        window="sliding" if sliding else "bucket",
        aging=None if aging is None else aging * 1000,
        queue=queue,
        cost=float,
    )
    clock = FakeClock(0.0)
    model = Model(places, rate, burst or rate or 0, sliding, aging, queue)
    real = Real(limit, clock)
    number = 0
    for name, *args in script:
        if name == "ask":
            model.ask(number, clock(), *args)
            real.ask(number, *args)
            number += 1
        elif name == "end" and model.running:
            which = sorted(model.running)[args[0] % len(model.running)]
            del model.running[which]
            model.serve(clock())
            real.permits.pop(which).dropped()
            real.settle()
        elif name == "leave" and model.waiting:
            gone = sorted(model.waiting, key=lambda w: w.number)[args[0] % len(model.waiting)]
            model.waiting.remove(gone)
            model.serve(clock())
            real.waiting.pop(gone.number)[0].quit()
            real.settle()
        elif name == "move":
            for _ in range(args[0]):
                clock.at += STEP
                model.serve(clock())
                real.settle()
        assert sorted(real.begun) == sorted(model.begun)  # those granted at one instant wake in any order
        assert real.refused == model.refused
        assert limit.running == len(model.running)
        assert limit.waiting == len(model.waiting)
    if rate is not None:
        kept(model, rate)


def kept(model: Model, rate: float) -> None:
    """The documented bound: in any window at most the burst and what came meanwhile, or with "sliding" the rate."""
    for k, (begin, _) in enumerate(model.starts):
        spent = 0.0
        for at, cost in model.starts[k:]:
            spent += cost
            assert spent <= model.depth + rate * (at - begin) + 1e-9
            if model.sliding and at < begin + 1:
                assert spent <= rate
