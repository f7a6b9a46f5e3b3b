"""Whatever is done to a balancer, in whatever order, it does what a model of a few lists says, in every mode.

``RIO_MACHINES=2000`` in the environment: so many examples in each mode.

Natively time is virtual and moves when a rule says so. Where requests run on threads, bodies wait for gates, and a
limit is over at once or never.
"""

from __future__ import annotations

import os
import threading
import time
from functools import partial
from math import inf
from typing import Any, Literal

import pytest
from conformance.harness import MODES, NATIVE, SLACK, Child
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from laws.balancer_model import Asked, Model
from laws.balancer_stage import TICKS, Bodies, Real, Stage, kept, tasks

from rio_chain import (
    Balancer,
    BalancerClosed,
    ChainDefinitionError,
    QueueFull,
    Request,
    Saturated,
    Ticket,
)

NEVER = 1e6
"""Milliseconds that no example lasts."""
REFUSALS = {kind.__name__: kind for kind in (BalancerClosed, QueueFull, Saturated)}
numbers = st.integers(0, 99)
priorities = st.integers(-2, 2)
kinds = st.sampled_from(["holds", "blocks", "holds", "blocks", "quick", "fails"])
limits = st.tuples(st.sampled_from(["", "queue_timeout", "deadline"]), st.sampled_from([5, 20, 0, NEVER]))


STAGED = tuple(mode for mode in MODES if mode != "virtual")
"""A loop in virtual time goes on only while somebody waits for it; here each rule looks at one that does not move."""


class Machine(RuleBasedStateMachine):
    """Rules act on a ``Model`` and on a real balancer alike."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.threads = set(threading.enumerate())
        self.stage = Stage(mode)
        self.world = self.stage.world
        self.native = self.world.native

    @initialize(
        workers=st.integers(1, 3),
        buffer=st.integers(0, 6),
        aging=st.sampled_from([None, None, 7.3]),
        max_abandoned=st.integers(1, 2),
        open_for=st.integers(0, 40),
    )
    def begin(self, workers: int, buffer: int, aging: float | None, max_abandoned: int, open_for: int) -> None:
        aging = aging if self.native else None
        self.model = Model(workers, buffer, max_abandoned, aging)
        self.bodies = Bodies()
        self.real: dict[Asked, Real] = {}
        self.closings: list[Child] = []
        self.number, self.open_for = 0, open_for
        self.manager = self.world.balancer(
            workers=workers, buffer=buffer, aging=aging, max_abandoned=max_abandoned, abandon_after=NEVER
        )

        async def enter() -> Balancer:
            self.tasks = set(tasks())
            return await self.manager.__aenter__()

        self.balancer: Balancer = self.stage.do(enter)
        for wrong in ({"priority": True}, {"queue_timeout": -1}, {"deadline": "5"}):
            with pytest.raises(ChainDefinitionError):  # of which nothing is left
                self.balancer.post(self.bodies.request("quick", 0), **wrong)

    # --- asking -------------------------------------------------------------------------------------------------

    def made(self, kind: str, priority: int, limit: tuple[str, float]) -> tuple[Asked, Request[Any], dict[str, Any]]:
        """A request with its terms, and what the model is to know of it."""
        self.number += 1
        kind = "holds" if kind == "blocks" and self.native else kind
        name, ms = limit
        if 0 < ms < NEVER:
            if self.native:
                ms += self.number / 100  # ends at an instant of its own
            elif not self.model.full:
                ms = NEVER  # in real time it may pass before the body has begun, or after
        instant = self.model.now + (0 if not self.native and ms < NEVER else ms)
        until = instant if name else inf
        deadline = instant if name == "deadline" else inf
        one = Asked(self.number, kind, priority, self.model.now, until, deadline)
        return one, self.bodies.request(kind, one.number), {"priority": priority, **({name: ms} if name else {})}

    @rule(kind=kinds, priority=priorities, limit=limits, elsewhere=st.booleans())
    def post(self, kind: str, priority: int, limit: tuple[str, float], elsewhere: bool) -> None:
        one, request, terms = self.made(kind, priority, limit)
        refusal = self.model.ask(one, bounded=True)

        def post() -> Ticket[Any]:
            return self.balancer.post(request, **terms)

        async def post_here() -> Ticket[Any]:
            return post()

        def ask() -> Ticket[Any]:
            ticket: Ticket[Any] = post() if elsewhere else self.stage.do(post_here)
            return ticket

        if refusal:
            with pytest.raises(REFUSALS[refusal]):
                ask()
            return
        self.real[one] = real = Real(ask())
        assert real.ticket is not None
        real.ticket.on_done(partial(real.answers.append, None))

    @rule(kind=kinds, priority=priorities, limit=limits, on_full=st.sampled_from(["wait", "reject"]))
    def arun(self, kind: str, priority: int, limit: tuple[str, float], on_full: Literal["wait", "reject"]) -> None:
        one, request, terms = self.made(kind, priority, limit)
        refusal = self.model.ask(one, bounded=on_full == "reject")

        async def start() -> Child:
            return self.world.start(lambda: self.balancer.arun(request, on_full=on_full, **terms))

        child = self.stage.do(start)
        if not refusal:
            self.real[one] = Real(child=child)
            return
        self.stage.do(self.ticks)
        assert type(child.error) is REFUSALS[refusal]

    @rule(ranks=st.lists(priorities, min_size=2, max_size=5))
    def post_some(self, ranks: list[int]) -> None:
        for priority in ranks:
            self.post("holds", priority, ("", 0), elsewhere=False)
            self.it_does_what_the_model_does()  # two that get a slot at once may begin in any order

    # --- what becomes of it ---------------------------------------------------------------------------------------

    @precondition(lambda self: self.model.running or self.model.stuck)
    @rule(which=numbers, well=st.booleans())
    def finish(self, which: int, well: bool) -> None:
        inside = [*self.model.running, *self.model.stuck]
        one = inside[which % len(inside)]
        self.model.finish(one, well=well)
        self.bodies.open(one.number, well=well)

    @precondition(lambda self: self.model.asked)
    @rule(which=numbers, elsewhere=st.booleans())
    def cancel(self, which: int, elsewhere: bool) -> None:
        """A ticket: in the line, running, or over; or the call of ``arun``."""
        one = self.model.asked[which % len(self.model.asked)]
        real = self.real[one]
        self.model.cancel(one, "cancelled" if real.ticket is not None else "interrupted")
        stop = real.ticket.cancel if real.ticket is not None else real.child.stop  # type: ignore[union-attr]

        async def stop_here() -> None:
            stop()

        if elsewhere and real.ticket is not None:
            stop()
        else:
            self.stage.do(stop_here)

    @precondition(lambda self: self.native and self.model.line and self.model.running)
    @rule(which=numbers, ticks=st.integers(0, 5))
    def cancel_who_is_next(self, which: int, ticks: int) -> None:
        """A call of ``arun``, while its slot is on the way to it: it is cancelled before it runs, or while it does."""
        ends, follows = self.model.running[which % len(self.model.running)], self.model.next
        child = self.real[follows].child
        if child is None:
            return

        async def meet() -> None:
            self.bodies.open(ends.number)
            for _ in range(ticks):
                await self.world.pause(0)
            child.stop()
            await self.ticks()

        self.stage.do(meet)
        late = follows.number in self.bodies.begun
        if not late:
            self.model.cancel(follows, "interrupted")
        self.model.finish(ends, well=True)
        if late:
            self.model.cancel(follows, "interrupted")

    @precondition(lambda self: self.native)
    @rule(ms=st.integers(1, 12))
    def advance(self, ms: int) -> None:
        self.model.advance(ms)
        self.stage.do(partial(self.world.pause, ms))

    @precondition(lambda self: self.number >= self.open_for)  # else most examples would be over soon
    @rule(grace=st.sampled_from([0, 15, NEVER, NEVER]))
    def close(self, grace: float) -> None:
        grace = grace if self.native or not grace else NEVER
        if 0 < grace < NEVER:
            self.number += 1
            grace += self.number / 100
        self.model.close(grace)

        async def start() -> Child:
            return self.world.start(lambda: self.balancer.aclose(grace=grace))

        self.closings.append(self.stage.do(start))

    # --- what is always so ----------------------------------------------------------------------------------------

    def predicted(self) -> dict[str, Any]:
        inside = {one.number for one in (*self.model.running, *self.model.stuck) if one.calls}
        return {
            "gauges": self.model.gauges,
            "begun": self.model.begun,
            "inside": inside,
            "ends": [one.summary for one in self.model.asked],
            "answers": [int(one.state == "over") for one in self.real if self.real[one].ticket is not None],
            "closings": [self.model.idle] * len(self.closings),
        }

    def observed(self) -> dict[str, Any]:
        stats = self.balancer.stats()
        return {
            "gauges": (stats.running, stats.queued, stats.abandoned, stats.done, stats.rejected),
            "begun": list(self.bodies.begun),
            "inside": set(self.bodies.inside),
            "ends": [self.real[one].summary() for one in self.model.asked],
            "answers": [len(real.answers) for real in self.real.values() if real.ticket is not None],
            "closings": [child.over.is_open for child in self.closings],
        }

    async def ticks(self) -> None:
        for _ in range(TICKS):
            await self.world.pause(0)

    async def settled(self) -> dict[str, Any]:
        """What is observed when it is what was predicted, or when it does not become so."""
        predicted, begun = self.predicted(), time.monotonic()
        await self.ticks()
        while (observed := self.observed()) != predicted:
            if self.native or time.monotonic() > begun + Stage.patience:
                Stage.patience = 0.5
                return observed
            await self.world.pause(1)
        return observed

    @invariant()
    def it_does_what_the_model_does(self) -> None:
        observed = self.stage.do(self.settled)
        assert observed == self.predicted()
        stats, model = self.balancer.stats(), self.model
        assert stats.waits.count == stats.runs.count == stats.done
        line = f"{len(model.running)}/{model.workers} running, {len(model.line)}/{model.buffer} queued, "
        assert line in repr(self.balancer)
        assert ("closed" if model.closed else "open") in repr(self.balancer)
        for one, real in self.real.items():
            outcome = real.outcome()
            if outcome is not None and self.native:
                assert abs(outcome.queued - one.waited) < 1e-3
            if outcome is None and real.ticket is not None:
                with pytest.raises(TimeoutError):
                    real.ticket.wait(0)
        assert [child.error for child in self.closings] == [None] * len(self.closings)

    def teardown(self) -> None:
        """All that is left is cancelled and answered, and nothing stays behind."""
        try:
            if hasattr(self, "balancer"):
                self.all_is_answered()
        finally:
            if hasattr(self, "balancer"):
                for event in self.bodies.events.values():
                    event.set()
                self.stage.do(partial(self.manager.__aexit__, None, None, None))
                assert not self.stage.do(self.tasks_left)
            self.stage.end()
        self.no_thread_is_left()

    def all_is_answered(self) -> None:
        self.close(0)
        self.it_does_what_the_model_does()
        for one in list(self.model.stuck):
            self.model.finish(one, well=True)
            self.bodies.open(one.number)
        self.it_does_what_the_model_does()
        assert self.model.gauges[:3] == (0, 0, 0)

    async def tasks_left(self) -> set[object]:
        await self.ticks()
        return set(tasks()) - self.tasks

    def no_thread_is_left(self) -> None:
        until = time.monotonic() + SLACK / 1000
        while left := {thread.name for thread in set(threading.enumerate()) - self.threads if not kept(thread)}:
            assert time.monotonic() < until, left
            time.sleep(0.001)


EXAMPLES = int(os.environ.get("RIO_MACHINES") or 0)


@pytest.mark.timeout(60 + EXAMPLES)
@pytest.mark.parametrize("mode", STAGED)
def test_a_balancer_does_what_the_model_does(mode: str) -> None:
    given = settings(
        max_examples=EXAMPLES or (60 if mode in NATIVE else 20),
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(partial(Machine, mode), settings=given)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", [mode for mode in NATIVE if mode in STAGED])
def test_time_that_runs_out_while_it_drains_is_no_cancellation(mode: str) -> None:
    machine = Machine(mode)
    machine.begin(workers=1, buffer=9, aging=None, max_abandoned=1, open_for=0)
    machine.post("holds", 0, ("", 0), elsewhere=False)
    machine.post("holds", 0, ("queue_timeout", 5), elsewhere=False)
    machine.arun("holds", 0, ("deadline", 5), on_full="wait")
    machine.it_does_what_the_model_does()  # else the close may come before the call has begun
    machine.close(NEVER)
    machine.advance(6)
    machine.it_does_what_the_model_does()
    assert [one.end for one in machine.model.asked] == ["", "late", "late"]
    machine.teardown()
