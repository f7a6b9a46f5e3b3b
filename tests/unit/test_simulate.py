"""simulate: what is played, what is counted, what is refused, and that it is the same every time."""

from __future__ import annotations

import asyncio
import gc
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from rio_chain import (
    Breaker,
    Budget,
    Cache,
    ChainDefinitionError,
    Chaos,
    Limit,
    Outcome,
    Quantile,
    Task,
    Unstable,
    UsageError,
    each,
    race,
    star,
)
from rio_chain.simulation import LatencyModel, Script, Simulation, poisson, regular, simulate, trace
from rio_chain.testing import ScriptEnded, sleep

EVERY = LatencyModel.constant


async def fetch(number: int) -> int:
    raise NotImplementedError


def store(value: Any) -> Any:
    raise NotImplementedError


page = Task(fetch).timeout(100).retry(2) >> Task(store).retry(1).or_else(None)
BACKENDS = {
    "fetch": LatencyModel.lognormal(20, p99=90).stalling(0.05, 500),
    "store": LatencyModel.exponential(5).failing(0.1, OSError),
}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    first, second, other = (
        json.dumps(simulate(page, BACKENDS, arrivals=poisson(50), requests=300, seed=seed).to_dict())
        for seed in (1, 1, 2)
    )
    assert first == second != other


def test_the_picture_is_the_same_every_time() -> None:
    one, two = (simulate(page, BACKENDS, requests=200)._repr_html_() for _ in range(2))
    assert one == two


def test_without_arrivals_none_waits_and_each_takes_its_own_time() -> None:
    simulation = simulate(Task(fetch), {"fetch": EVERY(20)}, requests=50, workers=1)
    assert list(simulation.latency.values) == pytest.approx([20] * 50)
    assert max(simulation.wait.values) == 0
    assert simulation.lasted == pytest.approx(1000)
    assert simulation.utilisation is None
    assert simulation.goodput == pytest.approx(50)


def test_requests_that_come_together_share_one_queue() -> None:
    simulation = simulate(Task(fetch), {"fetch": EVERY(20)}, arrivals=trace([0, 0, 0, 5]), workers=1)
    assert list(simulation.wait.values) == pytest.approx([0, 20, 40, 55])
    assert list(simulation.latency.values) == pytest.approx([20, 40, 60, 75])
    assert simulation.utilisation == pytest.approx(1)


def test_the_urgent_go_first() -> None:
    simulation = simulate(
        Task(fetch),
        {"fetch": EVERY(20)},
        arrivals=trace([0, 0, 0, 0]),
        workers=1,
        priority=lambda value: 5 if value == "urgent" else 0,
        inputs=["late", "late", "late", "urgent"],
    )
    assert {level: list(waits.values) for level, waits in simulation.waits.items()} == {
        0: pytest.approx([0, 40, 60]),
        5: pytest.approx([20]),
    }


def test_what_does_not_find_room_is_refused_and_has_no_latency() -> None:
    simulation = simulate(Task(fetch), {"fetch": EVERY(20)}, arrivals=trace([0] * 5), workers=1, buffer=2)
    assert simulation.failures == {"QueueFull": 2}
    assert len(simulation.latency) == 3
    assert simulation.succeeded == pytest.approx(0.6)


@pytest.mark.parametrize("limit", [{"queue_timeout": 30}, {"deadline": 45}])
def test_what_waits_too_long_fails(limit: dict[str, Any]) -> None:
    simulation = simulate(Task(fetch), {"fetch": EVERY(20)}, arrivals=trace([0] * 4), workers=1, **limit)
    assert simulation.failures == {"DeadlineExceeded": 2}
    assert simulation.ended[2:] == type(simulation.ended)("d", [float("inf")] * 2)


def test_calls_failures_and_time_outs_are_counted_for_each_backend() -> None:
    script = Script().then_raises(OSError).then(1, after=200).then(2, after=10).forever()
    simulation = simulate(Task(fetch).timeout(100).retry(2, backoff=None), {"fetch": script}, requests=2)
    load = simulation.backends["fetch"]
    assert (load.calls, load.extra, load.failed, load.timed_out) == (4, 2, 1, 1)
    assert (load.extra_load, simulation.extra_load, simulation.timed_out) == (1, 1, 1)
    assert list(simulation.latency.values) == pytest.approx([110, 10])


def test_the_first_call_for_each_item_is_none_too_many() -> None:
    chain = Task(fetch) >> each(Task(store).retry(1, backoff=None), limit=2)
    script = Script().then_raises(OSError).then(0).forever()
    simulation = simulate(chain, {"fetch": EVERY(1).returning([1, 2, 3]), "store": script}, requests=1)
    assert (simulation.backends["store"].calls, simulation.backends["store"].extra) == (4, 1)


def test_the_second_of_a_race_is_none_too_many() -> None:
    simulation = simulate(race(Task(fetch), Task(store)), {"fetch": EVERY(5), "store": EVERY(9)}, requests=10)
    assert simulation.extra_load == 0
    assert simulation.latency.p50 == pytest.approx(5)


def test_a_blocking_call_keeps_its_place_under_a_limit_until_it_would_have_ended() -> None:
    def limited(task: Any, places: int) -> Any:
        chain = Task(task).limit(Limit(places)).timeout(100).retry(3, backoff=None)
        return simulate(chain, {task.__name__: EVERY(1_000)}, requests=10, arrivals=regular(0.5), warmup=0)

    blocking, own, many = limited(store, 1), limited(fetch, 1), limited(store, 4)
    assert blocking.backends["store"].calls == 10, "the retries wait for the call before them, which lasts a second"
    assert own.backends["fetch"].calls == many.backends["store"].calls == 40
    assert (blocking.succeeded, own.succeeded, many.succeeded) == (0, 0, 0)

    often = simulate(
        Task(store).timeout(100).limit(Limit(1)), {"store": EVERY(1_000)}, requests=4, warmup=0, workers=4, buffer=0,
        arrivals=regular(1_000),
    )  # fmt: skip
    assert often.backends["store"].calls == 4
    assert often.latency.ordered[-1] == pytest.approx(3_100, abs=5)


def test_a_function_may_replace_a_task() -> None:
    async def slow(number: int) -> int:
        await sleep(30 + number)
        return number

    seen: list[Any] = []
    simulation = simulate(Task(fetch) >> Task(store), {"fetch": slow, "store": seen.append}, requests=3)
    assert seen == [0, 1, 2]
    assert list(simulation.latency.values) == pytest.approx([30, 31, 32])


def test_an_inline_function_runs_as_it_is_and_is_no_backend() -> None:
    seen: list[Any] = []

    def double(value: int) -> int:
        seen.append(value)
        return 2 * value

    chain = Task(double).inline().named("first") >> Task(fetch) >> Task(double).inline()
    simulation = simulate(chain, {"fetch": EVERY(5).returning(20)}, requests=2)
    assert list(simulation.backends) == ["fetch"]
    assert list(simulation.latency.values) == [5, 5]
    assert seen == [0, 20, 1, 20]
    assert list(simulate(Task(double).inline(), {}, requests=2).backends) == []


def test_an_inline_function_may_be_given_a_backend() -> None:
    chain = Task(fetch) >> Task(store).inline()
    simulation = simulate(chain, {"fetch": EVERY(5), "store": EVERY(1)}, requests=2)
    assert list(simulation.backends) == ["fetch", "store"]
    assert list(simulation.latency.values) == [6, 6]


def test_calls_are_counted_for_the_right_task_beside_inline_ones() -> None:
    chain = Task(abs).inline() >> Task(fetch).retry(1, backoff=None).or_else(1) >> Task(abs).inline() >> Task(store)
    backends = {"fetch": EVERY(5).failing(1, OSError), "store": EVERY(1)}
    loads = simulate(chain, backends, requests=3).backends
    assert [(load.calls, load.extra, load.failed) for load in loads.values()] == [(6, 3, 6), (3, 0, 0)]


def test_what_an_inline_function_misses_in_the_answer_of_a_model_is_reported() -> None:
    chain = Task(fetch) >> Task(str.upper).inline()
    with pytest.raises(ChainDefinitionError, match=r"upper, which runs in place, failed: .*'fetch': .*returning"):
        simulate(chain, {"fetch": EVERY(1)})
    with pytest.raises(ChainDefinitionError, match=r"upper, which runs in place, failed: .* its `inputs`"):
        simulate(Task(str.upper).inline() >> Task(fetch), {"fetch": EVERY(1)})


def test_bridges_and_predicates_are_called_as_they_are() -> None:
    chain = Task(fetch) >> (lambda value: value + 1) >> Task(store)
    seen: list[Any] = []
    simulate(chain, {"fetch": EVERY(1).returning(41), "store": seen.append}, requests=1)
    assert seen == [42]


def test_a_bridge_that_fails_is_reported_as_such() -> None:
    chain = (Task(fetch) & Task(store)) >> star(lambda a, b: a + b)
    backends = {"fetch": EVERY(1).returning("text"), "store": EVERY(1).returning(5)}
    assert simulate(chain, backends, requests=5).failures == {"BridgeFailed": 5}


def test_what_is_up_in_the_warm_up_does_not_count() -> None:
    model = EVERY(10).outage(0, 1000)
    simulation = simulate(Task(fetch), {"fetch": model}, arrivals=regular(100), requests=20, warmup=100)
    assert simulation.failures == {}
    assert simulation.backends["fetch"].calls == 20
    assert simulation.goodput == pytest.approx(100, rel=0.06)


def test_policies_of_the_real_chain_are_neither_used_nor_touched() -> None:
    breaker, limit, budget, chaos = Breaker(1), Limit(1), Budget(), Chaos(1, error=KeyError)
    cache, late = Cache(ttl=1e9), Quantile(0.5, warmup=1)
    breaker.open(hold=True)
    chaos.off()
    chain = (
        Task(fetch)
        .breaker(breaker)
        .limit(limit)
        .replica(2, after=late)
        .retry(1)
        .budget(budget)
        .cache(cache)
        .chaos(chaos)
    )
    simulation = simulate(chain, {"fetch": EVERY(10)}, requests=20)
    assert simulation.failures == {}
    assert breaker.state == "open"
    assert (len(cache), late.value(), budget.executions, limit.running) == (0, None, 0, 0)


def test_a_breaker_that_two_tasks_share_is_one_in_the_simulation() -> None:
    breaker = Breaker(3)
    chain = Task(fetch).breaker(breaker).or_else(0) >> Task(store).breaker(breaker)
    down = EVERY(1).failing(1, OSError)
    simulation = simulate(chain, {"fetch": down, "store": down}, requests=40)
    assert [load.calls for load in simulation.backends.values()] == [2, 1]  # and then it is open for both
    assert simulation.failures == {"CircuitOpen": 39, "OSError": 1}


def test_outcomes_are_let_go() -> None:
    alive: list[int] = []

    def outcomes() -> int:
        gc.collect()
        return sum(type(each) is Outcome for each in gc.get_objects())

    def seen(_: Any) -> None:
        alive.append(outcomes() if len(alive) % 100 == 99 else 0)

    before = outcomes()  # those that other tests left
    simulate(Task(store), {"store": seen}, requests=300)
    assert max(alive) <= before + 2


def test_a_script_that_ends_is_raised() -> None:
    with pytest.raises(ScriptEnded):
        simulate(Task(fetch), {"fetch": Script().then(1)}, requests=3)


def test_what_a_bridge_misses_in_the_answer_of_a_model_is_reported() -> None:
    chain = Task(fetch) >> str.upper >> Task(store)
    with pytest.raises(ChainDefinitionError, match=r"bridge `upper` .* \{'fetch': .*returning\(\.\.\.\)\}"):
        simulate(chain, {"fetch": EVERY(1), "store": EVERY(1)})
    chain = Task(fetch).accept(lambda answer: answer > 5)
    with pytest.raises(ChainDefinitionError, match=r"`accept` .* \{'fetch': .*returning\(\.\.\.\)\}"):
        simulate(chain, {"fetch": EVERY(1)})


def test_what_a_first_bridge_misses_in_the_input_is_reported() -> None:
    chain = str.upper >> Task(fetch)
    with pytest.raises(ChainDefinitionError, match="give the simulation its `inputs`"):
        simulate(chain, {"fetch": EVERY(1)})
    assert simulate(chain, {"fetch": EVERY(1)}, inputs=["ada"], requests=9).failures == {}


def test_what_waits_in_real_time_is_named() -> None:
    async def real(_: int) -> None:
        await asyncio.sleep(0.01)

    with pytest.raises(UsageError, match=r"`asyncio\.sleep` .* in virtual time"):
        simulate(Task(fetch).retry(2), {"fetch": real})


def test_it_can_be_asked_while_a_loop_runs() -> None:
    async def cell() -> float:
        return simulate(Task(fetch), {"fetch": EVERY(20)}, requests=5).latency.p50

    assert asyncio.run(cell()) == pytest.approx(20)


# --- refused ----------------------------------------------------------------------------------------------------


def test_more_than_the_workers_can_serve_is_unstable_before_it_begins() -> None:
    with pytest.raises(Unstable) as refused:
        simulate(Task(fetch), {"fetch": EVERY(50)}, arrivals=poisson(250))
    error = refused.value
    assert (error.per_second, error.service, error.workers, error.capacity) == pytest.approx((250, 50, 10, 200))
    assert "Write workers=13 or more" in str(error)


def test_as_many_workers_as_it_says_are_enough() -> None:
    assert simulate(Task(fetch), {"fetch": EVERY(50)}, arrivals=poisson(250), workers=13, requests=200).failures == {}


STALLS = LatencyModel.lognormal(20, p99=60).stalling(0.03, 1500)
"""66.8 ms on average (300,000 draws); a few hundred of them say little of that."""


@pytest.mark.parametrize("seed", range(3))
def test_rare_stalls_do_not_mislead_the_pilot(seed: int) -> None:
    fits = 0.9 * 10 * 1000 / 66.8
    assert not simulate(Task(fetch), {"fetch": STALLS}, arrivals=poisson(fits), requests=50, seed=seed).undecided
    with pytest.raises(Unstable):
        simulate(Task(fetch), {"fetch": STALLS}, arrivals=poisson(fits * 4 / 3), requests=50, seed=seed)


def test_a_load_too_near_to_what_the_workers_can_serve_is_played_and_undecided() -> None:
    found = simulate(Task(fetch), {"fetch": STALLS}, arrivals=poisson(10 * 1000 / 66.8), requests=50)
    assert found.undecided
    load = found.offered_load
    assert load is not None
    assert load.low < 1 <= load.high
    assert load.high - load.low < 0.2
    text = f"undecided whether 10 workers can serve this: the offered load is {load}"
    assert text in found.summary()
    assert found.to_dict()["undecided"] is True


def test_where_nothing_can_grow_without_end_no_load_is_measured() -> None:
    for options in ({}, {"arrivals": trace([0, 10])}, {"arrivals": poisson(10), "buffer": 5}):
        found = simulate(Task(fetch), {"fetch": EVERY(5)}, requests=2, **options)  # type: ignore[arg-type]
        assert (found.offered_load, found.undecided) == (None, False)


def test_the_pilot_takes_all_inputs_in_turn() -> None:
    asked: list[int] = []

    def slow_for_some(number: int) -> int:
        asked.append(number)
        return number

    inputs = range(1_500)
    found = simulate(
        Task(slow_for_some) >> Task(fetch),
        {"slow_for_some": slow_for_some, "fetch": STALLS},
        arrivals=poisson(1000 / 6.68),
        inputs=inputs,
        requests=1_500,
    )
    assert found.undecided
    assert set(asked) == set(inputs)


@pytest.mark.parametrize("bound", [{"buffer": 5}, {"queue_timeout": 100}])
def test_what_bounds_the_line_makes_overload_bearable(bound: dict[str, Any]) -> None:
    simulation = simulate(Task(fetch), {"fetch": EVERY(50)}, arrivals=regular(400), requests=400, workers=10, **bound)
    assert simulation.succeeded < 0.7
    assert simulation.goodput == pytest.approx(200, rel=0.1)
    assert simulation.utilisation == pytest.approx(1, abs=0.1)


def test_under_overload_a_deadline_alone_has_the_workers_run_what_comes_too_late() -> None:
    simulation = simulate(Task(fetch), {"fetch": EVERY(50)}, arrivals=regular(400), requests=400, deadline=100)
    assert simulation.goodput < 50
    assert simulation.utilisation == pytest.approx(1, abs=0.1)


def test_a_burst_is_no_rate() -> None:
    assert simulate(Task(fetch), {"fetch": EVERY(50)}, arrivals=trace([0] * 100)).latency.p999 == pytest.approx(500)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: simulate(page, {"fetch": EVERY(1)}), "missing: store"),
        (
            lambda: simulate(page, {**BACKENDS, "fetsch": EVERY(1)}),
            "'fetsch', which is not a task of this chain; it has",
        ),
        (lambda: simulate(page, {**BACKENDS, "fetch": 20}), "`backends['fetch']` must be a LatencyModel"),
        (lambda: simulate(page, {**BACKENDS, "fetch": LatencyModel}), "`backends['fetch']`"),
        (lambda: simulate(page, [EVERY(1)]), "`backends` must be a dict"),
        (lambda: simulate(page(1), BACKENDS), "leave the arguments out: page, not page(42)"),
        (lambda: simulate(fetch, BACKENDS), "write Task(fn)"),
        (lambda: simulate(page, BACKENDS, arrivals=50), "write poisson(50)"),
        (lambda: simulate(page, BACKENDS, requests=0), "`requests` must be a whole number, 1 or more"),
        (lambda: simulate(page, BACKENDS, requests=5, arrivals=trace([0, 1])), "`requests` must be at most 2"),
        (lambda: simulate(page, BACKENDS, workers=0), "`workers`"),
        (lambda: simulate(page, BACKENDS, seed="x"), "`seed` must be a whole number"),
        (lambda: simulate(page, BACKENDS, inputs=[]), "`inputs` needs at least one value"),
        (lambda: simulate(page, BACKENDS, inputs="abc"), "`inputs` must be a list"),
        (lambda: simulate(page, BACKENDS, priority="high"), "`priority`"),
        (lambda: simulate(page, BACKENDS, deadline=-1), "`deadline`"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Callable[[], Any], says: str) -> None:
    with pytest.raises(ChainDefinitionError) as refused:
        call()
    assert says in str(refused.value)


# --- looking at it ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate(page, BACKENDS, arrivals=poisson(50), requests=400)


def test_the_data_is_json_and_says_what_the_attributes_say(simulation: Simulation) -> None:
    data = json.loads(json.dumps(simulation.to_dict(), allow_nan=False))
    assert data["latency_ms"]["p99"][0] == pytest.approx(simulation.latency.p99)
    assert data["backends"]["fetch"]["calls"] == simulation.backends["fetch"].calls
    assert data["requests"] == 400


def test_the_text_names_every_figure(simulation: Simulation) -> None:
    text = simulation.summary()
    for word in ("fetch", "store", "p99.9", "wait for a worker", "extra load", "goodput", "workers busy", "succeeded"):
        assert word in text
    assert repr(simulation).startswith("<Simulation of fetch >> ")


def test_the_picture_is_inert(simulation: Simulation) -> None:
    html = simulate(
        Task(fetch).named("<script>alert(1)</script>&"), {"<script>alert(1)</script>&": EVERY(1)}, requests=9
    )
    for text in (html._repr_html_(), simulation._repr_html_()):
        assert "<script" not in text
        assert "http" not in text
        assert not re.search(r"\sid=|\son\w+=|nan|inf[^oi]", text.split("</style>")[1])


def test_where_nobody_is_let_in_it_still_shows() -> None:
    none = simulate(Task(fetch), {"fetch": EVERY(10).failing(1, OSError)}, arrivals=trace([0]), requests=1)
    assert none.failures == {"OSError": 1}
    assert "OSError" in none._repr_html_()
    assert "100.0 % failed" in repr(none)
