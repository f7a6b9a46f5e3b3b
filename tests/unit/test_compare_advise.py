"""compare and advise: the same luck for all variants, differences that are none are seen as none, limits are kept."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rio_chain import ChainDefinitionError, Task, Unstable, fan_out
from rio_chain.simulation import Advice, LatencyModel, Script, _search, advise, compare, poisson, simulate
from rio_chain.simulation._policy_changes import Change, changed, task_policies


async def fetch(number: int) -> int:
    raise NotImplementedError


async def store(number: int) -> int:
    raise NotImplementedError


SLOW_AT_TIMES = {"fetch": LatencyModel.lognormal(20, p99=60).stalling(0.03, 400)}
plain = Task(fetch)


def test_a_variant_that_is_the_same_differs_by_nothing() -> None:
    found = compare(plain, Task(fetch), backends=SLOW_AT_TIMES, requests=300, arrivals=poisson(50))
    assert all((value, value.low, value.high) == (0, 0, 0) for value in found.differences["B"].values())


def test_variants_meet_the_same_luck_call_by_call() -> None:
    """A hedge begins no sooner than 60 ms: all requests that were quicker are as they were."""
    found = compare(plain, plain.replica(2, after=60), backends=SLOW_AT_TIMES, requests=500, names=["now", "hedged"])
    now, hedged = (each.latency.values for each in found.simulations.values())
    assert all(b == pytest.approx(a) if a <= 60 else b <= a + 1e-9 for a, b in zip(now, hedged, strict=True))


def test_variants_meet_a_script_from_its_first_step_on() -> None:
    script = Script().then(1, after=500).then(2, after=10).forever()
    found = compare(plain, plain.timeout(900), backends={"fetch": script}, requests=20)
    assert all(list(each.latency.values) == pytest.approx([500, *[10] * 19]) for each in found.simulations.values())


def test_a_difference_has_an_interval_that_is_narrower_than_those_of_its_parts() -> None:
    backends = {"fetch": LatencyModel.lognormal(20, p99=60), "store": LatencyModel.constant(5)}
    found = compare(plain, plain >> Task(store), backends=backends, requests=1000)
    a, b = (each.latency.p99 for each in found.simulations.values())
    p99 = found.differences["B"]["p99"]
    assert (p99.low, p99, p99.high) == pytest.approx((5, 5, 5))
    assert a.high - a.low > 5
    assert found.differences["B"]["calls"] == pytest.approx(1)
    assert b > a


def test_a_variant_that_fails_too_often_never_gets_there() -> None:
    found = compare(plain, plain.timeout(100), backends=SLOW_AT_TIMES, requests=1000)
    assert found.differences["B"]["p99"] == math.inf
    assert found.differences["B"]["succeeded"].high < 0
    assert "never" in found.summary()
    assert "never" in found._repr_html_()
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: compare(plain, backends=SLOW_AT_TIMES), "two chains or more"),
        (lambda: compare(plain, plain, backends=SLOW_AT_TIMES, names=["a", "a"]), "2 different names"),
        (lambda: compare(plain, plain(1), backends=SLOW_AT_TIMES), "page, not page(42)"),
        (lambda: compare(plain, plain, backends={**SLOW_AT_TIMES, "x": 1}), "not a task of any of these chains"),
        (lambda: advise(plain, SLOW_AT_TIMES, goal="p98"), "`goal` must be one of 'p50'"),
        (lambda: advise(plain, SLOW_AT_TIMES, tasks=["store"]), "`tasks` names 'store'"),
        (lambda: advise(plain, SLOW_AT_TIMES, extra_load=-1), "`extra_load`"),
        (lambda: advise(plain, {}), "missing: fetch"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Callable[[], Any], says: str) -> None:
    with pytest.raises(ChainDefinitionError) as refused:
        call()
    assert says in str(refused.value)


def test_all_variants_are_looked_at_before_one_is_played() -> None:
    with pytest.raises(Unstable):
        compare(plain, plain >> Task(store), backends={**SLOW_AT_TIMES, "store": LatencyModel.constant(900)},
                arrivals=poisson(20), requests=10)  # fmt: skip


# --- changes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "change", "after"),
    [
        (plain, Change(after=0.05), plain.replica(2, after=50)),
        (plain.timeout(300).retry(2), Change(after=0.05), plain.replica(2, after=50).timeout(300).retry(2)),
        (plain.timeout(300).retry(2), Change(timeout=0.1), plain.timeout(100).retry(2)),
        (plain.retry(2), Change(timeout=0.1, retries=3), plain.timeout(100).retry(3)),
        (plain, Change(timeout=0.1, retries=1), plain.timeout(100).retry(1)),
        (plain.retry(1).timeout(900), Change(timeout=0.1), plain.timeout(100).retry(1).timeout(900)),
        (plain.replica(3, after=9), Change(after=0.05), plain.replica(3, after=50)),
        (plain & Task(store), Change(retries=1), plain.retry(1) & Task(store)),
        (fan_out(a=plain, b=Task(store)), Change(retries=1), fan_out(a=plain.retry(1), b=Task(store))),
    ],
)
def test_a_change_is_what_one_would_write(before: Any, change: Change, after: Any) -> None:
    there = changed(before, {"fetch": change})
    assert there == after
    assert repr(there) == repr(after)
    assert there.plan().tasks[0].call.fn is fetch


def test_what_is_around_a_task_is_known() -> None:
    around = task_policies(plain.replica(2, after=50).timeout(300).retry(2).timeout(900) >> Task(store))["fetch"]
    assert (around.after, around.timeout, around.retries, around.limit) == (0.05, 0.3, 2, 0.3)


# --- advise -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """A search with fewer requests than users get: what is tested are its rules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_search, "LOOK", 200)
        patch.setattr(_search, "CLOSER", 500)
        yield


@pytest.fixture(scope="module")
def advice() -> Advice[..., Any]:
    return advise(plain, SLOW_AT_TIMES, requests=2000)


def test_a_tail_that_a_hedge_cuts_is_found(advice: Advice[..., Any]) -> None:
    assert advice.helps
    assert advice.before == pytest.approx(400)
    assert advice.after < 150
    assert 0 < advice.gain.low <= advice.gain
    assert advice.extra_load <= 0.055
    assert advice.changes["fetch"] in str(advice)


def test_the_advised_chain_is_real_and_its_functions_are_the_users(advice: Advice[..., Any]) -> None:
    assert repr(advice.chain) == advice.changes["fetch"]
    assert advice.chain.plan().tasks[0].call.fn is fetch
    assert simulate(advice.chain, SLOW_AT_TIMES, requests=1000).latency.p99 < 200


def test_advice_shows_as_text_data_and_picture(advice: Advice[..., Any]) -> None:
    data = json.loads(json.dumps(advice.to_dict(), allow_nan=False))
    assert (data["helps"], data["goal"]) == (True, "p99")
    assert repr(advice).startswith("<Advice: p99 400.0 ms -> ")
    assert "<svg" in advice._repr_html_()


def test_where_nothing_helps_it_says_so_and_leaves_the_chain() -> None:
    advice = advise(plain, {"fetch": LatencyModel.constant(20)}, requests=500)
    assert not advice.helps
    assert advice.chain is plain
    assert "Nothing within the limits" in str(advice)
    assert repr(advice) == "<Advice: nothing helps>"


def test_without_a_call_more_no_hedge_is_advised() -> None:
    advice = advise(plain, SLOW_AT_TIMES, requests=500, extra_load=0)
    assert not advice.helps


def test_only_the_tasks_that_are_named_are_changed() -> None:
    chain = plain >> Task(store)
    backends = {**SLOW_AT_TIMES, "store": LatencyModel.lognormal(20, p99=60).stalling(0.03, 400)}
    advice = advise(chain, backends, requests=500, tasks=["store"])
    assert set(advice.changes) <= {"store"}


def test_failures_are_worse_than_any_latency() -> None:
    """A limit alone would make the p99 short, and 3 % fail."""
    advice = advise(plain, {"fetch": LatencyModel.constant(20).failing(0.03, OSError)}, requests=2000)
    assert advice.helps
    assert advice.before == math.inf
    assert advice.after < math.inf
    assert "never (more than 1 % of the requests fail)" in str(advice)


def test_an_inline_function_is_neither_changed_nor_in_need_of_a_backend() -> None:
    chain = Task(abs).inline() >> Task(fetch) >> Task(len).inline().or_else(0)
    backends = {"fetch": LatencyModel.lognormal(20, p99=60).stalling(0.03, 400).returning([])}
    advice = advise(chain, backends, requests=500)
    assert set(advice.changes) == {"fetch"}
    with pytest.raises(ChainDefinitionError, match=r"`tasks` names 'abs', which is `\.inline\(\)`"):
        advise(chain, backends, tasks=["abs"])
