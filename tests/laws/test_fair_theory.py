"""``fair=`` against theory: shares of slot time, and how soon a new tenant is served. And against a plain model."""

from __future__ import annotations

import random
from collections import defaultdict
from functools import partial
from heapq import heappop, heappush
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rio_chain import Task
from rio_chain.balancer._fair_queue import FairQueue
from rio_chain.balancer._priority_queue import Turn
from rio_chain.engine._current_run import Run
from rio_chain.simulation import LatencyModel, poisson, simulate
from rio_chain.testing import sleep

PLAN = Task(len).plan()


class Server:
    """Slots that serve turns of a FairQueue, as events in virtual time. It notes who started when, and for how long."""

    def __init__(self, workers: int, weights: dict[Any, float], seconds: Any) -> None:
        self.queue = FairQueue(workers, weights)
        self.seconds = seconds  # of a tenant: how long its next request takes
        self.now = 0.0
        self.events: list[tuple[float, int, Turn, float]] = []
        self.starts: list[tuple[float, Any, float]] = []
        self.number = 0

    def come(self, tenant: Any, priority: float = 0) -> Turn:
        turn = Turn(Run(PLAN), priority, self.now)
        turn.tenant = tenant
        if self.queue.take_for(turn):
            self.begin(turn)
        else:
            self.queue.enter(turn)
        return turn

    def begin(self, turn: Turn) -> None:
        self.number += 1
        lasts = self.seconds(turn.tenant)
        self.starts.append((self.now, turn.tenant, lasts))
        heappush(self.events, (self.now + lasts, self.number, turn, lasts))

    def step(self) -> Any:
        """The next end; returns the tenant of the request that has ended."""
        self.now, _, turn, lasted = heappop(self.events)
        self.queue.ended(turn.run, lasted)
        following = self.queue.leave()
        if following is not None:
            self.begin(following)
        return turn.tenant

    def shares(self, begin: float, end: float) -> dict[Any, float]:
        """The share of the slot time in a stretch of time."""
        used: dict[Any, float] = defaultdict(float)
        for at, tenant, lasts in self.starts:
            used[tenant] += max(0.0, min(end, at + lasts) - max(begin, at))
        total = sum(used.values())
        return {tenant: seconds / total for tenant, seconds in used.items()}


@pytest.mark.parametrize("workers", [1, 4, 10])
@pytest.mark.parametrize(
    "costs",
    [
        {"gold": (1, 1), "silver": (1, 1), "other": (1, 1), "more": (1, 1)},
        {"gold": (0.5, 1.5), "silver": (0.5, 1.5), "other": (0.5, 1.5), "more": (0.5, 1.5)},
        {"gold": (0.2, 0.2), "silver": (0.5, 1.5), "other": (1, 3), "more": (0.1, 0.1)},
    ],
)
def test_each_tenant_gets_its_share_of_any_thousand_slots(workers: int, costs: dict[str, tuple[float, float]]) -> None:
    draw = random.Random(workers)
    weights = {"gold": 3.0, "silver": 2.0}
    server = Server(workers, weights, lambda tenant: draw.uniform(*costs[tenant]))
    for tenant in costs:
        for _ in range(2 * workers):
            server.come(tenant)
    while len(server.starts) < 6_000:
        server.come(server.step())  # so all stay backlogged
    total = sum(weights.get(tenant, 1) for tenant in costs)
    instants = [at for at, _, _ in server.starts]
    known = 200 if costs["gold"] == costs["more"] else 1_000  # before that, it has to learn what calls of whom take
    for first in range(known, 4_900, 350):
        shares = server.shares(instants[first], instants[first + 1_000])
        for tenant in costs:
            assert shares[tenant] == pytest.approx(weights.get(tenant, 1) / total, abs=0.01), (first, tenant)


def test_calls_of_ten_seconds_and_of_ten_milliseconds_get_equal_time() -> None:
    server = Server(10, {}, lambda tenant: 10.0 if tenant == "slow" else 0.01)
    for tenant in ("slow", "fast"):
        for _ in range(50):
            server.come(tenant)
    while server.now < 2_000:
        server.come(server.step())
    shares = server.shares(100, 2_000)
    assert shares["slow"] == pytest.approx(0.5, abs=0.01)
    starts = [tenant for _, tenant, _ in server.starts]
    assert starts.count("fast") > 500 * starts.count("slow")


@pytest.mark.parametrize("workers", [1, 3, 10])
def test_a_new_tenant_waits_for_one_start_of_each_other_per_unit_of_its_weight(workers: int) -> None:
    weights = {"gold": 3.0, "silver": 2.0, "a": 1.0, "b": 1.0}
    draw = random.Random(7)
    server = Server(workers, weights, lambda _: 1.0)
    for tenant in weights:
        for _ in range(200):
            server.come(tenant)
    for number in range(300):
        for _ in range(draw.randrange(1, 8)):
            server.come(server.step())
        before = len(server.starts)
        server.come(f"new {number}")
        while server.starts[-1][1] != f"new {number}":
            server.come(server.step())
        others = [tenant for _, tenant, _ in server.starts[before:-1]]
        for tenant, weight in weights.items():
            assert others.count(tenant) <= weight, (number, others)


def test_the_first_request_of_b_is_not_behind_the_backlog_of_a() -> None:
    server = Server(2, {}, lambda _: 1.0)
    for _ in range(200):
        server.come("a")
    for _ in range(20):
        server.step()
    before = len(server.starts)
    server.come("b")
    while server.starts[-1][1] != "b":
        server.step()
    assert len(server.starts) - before <= 2


def test_an_idle_tenant_saves_nothing_and_the_number_kept_is_bounded() -> None:
    server = Server(1, {}, lambda _: 1.0)
    for _ in range(500):
        server.come("busy")
    for _ in range(200):
        server.step()
    for _ in range(50):
        server.come("late")
    before = len(server.starts)
    for _ in range(40):
        server.step()
    tenants = [tenant for _, tenant, _ in server.starts[before:]]
    assert 19 <= tenants.count("late") <= 21, "it has no credit from the time when it had no requests"
    for number in range(3_000):
        server.come(f"t{number}")
        server.step()
        server.step()
        if len(server.events) == 0:
            break
        server.come("busy")
    shares = server.queue._level(0).shares
    assert len(shares) < 60


def test_within_one_priority_only() -> None:
    server = Server(1, {}, lambda _: 1.0)
    for _ in range(5):
        server.come("a", 5)
    for _ in range(5):
        server.come("b", 0)
    while server.events:
        server.step()
    assert [tenant for _, tenant, _ in server.starts] == ["a"] * 5 + ["b"] * 5


# --- a plain model: every tag of start-time fair queueing, looked up in a list ------------------------------------

steps = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.sampled_from("abcd"), st.sampled_from([0, 0, 1])),
        st.tuples(st.just("come"), st.sampled_from("abcd"), st.sampled_from([0, 0, 1])),
        st.tuples(st.just("end"), st.integers(1, 8)),
        st.tuples(st.just("withdraw"), st.integers(0, 9)),
    ),
    max_size=80,
)


@settings(max_examples=300)
@given(st.integers(1, 3), st.dictionaries(st.sampled_from("abc"), st.sampled_from([0.5, 2.0, 4.0])), steps)
def test_who_is_next_is_who_has_used_least(workers: int, weights: dict[Any, float], script: list[Any]) -> None:
    queue = FairQueue(workers, weights)
    waiting: list[Turn] = []
    running: list[Turn] = []
    for name, *args in script:
        if name == "come":
            turn = Turn(Run(PLAN), args[1])
            turn.tenant = args[0]
            if queue.take_for(turn):
                assert len(running) < workers
                assert not waiting
                running.append(turn)
            else:
                queue.enter(turn)
                waiting.append(turn)
        elif name == "end" and running:
            turn = running.pop(0)
            queue.ended(turn.run, args[0] / 8)
            got = queue.leave()
            if not waiting:
                assert got is None
                continue
            best = max(one.priority for one in waiting)
            able = [one for one in waiting if one.priority == best]
            assert got in able, "the highest priority first"
            assert got is next(one for one in able if one.tenant == got.tenant), "of a tenant, the first that came"
            waiting.remove(got)
            running.append(got)
        elif name == "withdraw" and waiting:
            turn = waiting.pop(args[0] % len(waiting))
            assert queue.withdraw(turn)
        assert (queue.running, queue.waiting) == (len(running), len(waiting))
        for level in queue._levels.values():
            tenants = level.shares._tenants.values()
            assert sum(tenant.waiting for tenant in tenants) == level.shares.waiting
            least = min((tenant.at for tenant in tenants if tenant.waiting), default=None)
            following = level.shares.next()
            assert (following is None) == (least is None)
            assert following is None or following.at == least, "the one that has used least for its weight"


# --- overload -----------------------------------------------------------------------------------------------------


async def answer(x: int) -> int:
    return x


@pytest.mark.parametrize(
    ("model", "mean"),
    [
        (LatencyModel.constant(50), 50),
        (LatencyModel.uniform(25, 75), 50),
        (LatencyModel.lognormal(40, p99=150), 47),
    ],
)
def test_goodput_at_three_times_the_load(model: LatencyModel, mean: float) -> None:
    """Of what ten workers could do, nearly all is done in time, although three times as much comes."""

    def goodput(*, shed_late: bool) -> float:
        found = simulate(
            Task(answer),
            {"answer": model},
            arrivals=poisson(3 * 10 * 1000 / mean),
            deadline=500,
            requests=4_000,
            warmup=500,
            seed=3,
            shed_late=shed_late,
        )
        return 3 * (found.requests - sum(found.failures.values())) / found.requests

    assert goodput(shed_late=False) < 0.4
    assert goodput(shed_late=True) >= 0.98


def test_a_simulation_plays_shares() -> None:
    served: list[int] = []

    async def serve(x: int) -> int:
        await sleep(10)
        served.append(x)
        return x

    play = partial(
        simulate,
        Task(answer),
        {"answer": serve},
        arrivals=poisson(140),  # one worker can do 100 in a second
        requests=2_000,
        workers=1,
        inputs=[0] * 19 + [1],
        deadline=400,
        seed=2,
    )
    play()
    alone = served.count(1)
    served.clear()
    play(fair=True, tenant=lambda x: x)
    assert alone < 90
    assert served.count(1) == 100, "the small tenant is below its share, so none of its requests waits for long"
