"""advise: what it finds, the limits that it keeps, and the code that it writes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from rio_chain import Breaker, Cache, ChainDefinitionError, Limit, Quantile, Task, fan_out
from rio_chain.inspect.live._screen import LineOutput
from rio_chain.simulation import Advice, LatencyModel, _search, advise, poisson, simulate, trace
from rio_chain.simulation._changed_source import written
from rio_chain.simulation._policy_changes import Change, changed, task_policies
from rio_chain.simulation._settings import setting


async def fetch(number: int) -> int:
    raise NotImplementedError


async def store(number: int) -> int:
    raise NotImplementedError


SLOW_AT_TIMES = {"fetch": LatencyModel.lognormal(20, p99=60).stalling(0.03, 400)}
plain = Task(fetch)
GATE, CACHE = Limit(3), Cache(1000, key=abs)


@Task
async def decorated(number: int) -> int:
    raise NotImplementedError


SLOW = LatencyModel.lognormal(20, p99=60).stalling(0.03, 400)


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
        (plain.replica(3, after=9), Change(after=0.05, count=4), plain.replica(4, after=50)),
        (
            plain.limit(GATE).timeout(90).retry(1),
            Change(after=0.05),
            plain.limit(GATE).replica(2, after=50).timeout(90).retry(1),
        ),
        (plain.cache(CACHE), Change(after=0.05), plain.replica(2, after=50).cache(CACHE)),
        (plain.retry(1).limit(GATE), Change(after=0.05), plain.replica(2, after=50).retry(1).limit(GATE)),
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
    assert (around.after, around.count, around.timeout, around.retries, around.limit) == (0.05, 2, 0.3, 2, 0.3)


# --- advise -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """A search with fewer requests than users get: what is tested are its rules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_search, "LOOK", 200)
        patch.setattr(_search, "CLOSER", 1000)
        patch.setattr(_search, "DRAWN", 10_000)
        yield


@pytest.fixture(scope="module")
def advice() -> Advice[..., Any]:
    return advise(plain, SLOW_AT_TIMES, requests=2000)


def test_a_tail_that_a_hedge_cuts_is_found(advice: Advice[..., Any]) -> None:
    assert advice.helps
    assert advice.before == pytest.approx(400)
    assert advice.after < 150
    assert 0 < advice.gain.low <= advice.gain
    assert 0.04 < advice.extra_load <= 0.05
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


def test_the_extra_load_is_used() -> None:
    """An exponential has no stall that a late hedge would cut as well: each call more helps."""
    advice = advise(plain, {"fetch": LatencyModel.exponential(100)}, requests=4000)
    best = (100 * math.log(20) + 100 * math.log(100)) / 2  # a hedge at the p95
    assert 0.04 < advice.extra_load <= 0.05
    assert advice.after == pytest.approx(best, rel=0.08)
    assert advice.after < 0.88 * advice.before


@pytest.mark.parametrize("seed", range(12))
def test_the_extra_load_is_never_above_what_was_allowed(seed: int) -> None:
    advice = advise(plain, SLOW_AT_TIMES, requests=1000, seed=seed)
    assert advice.helps
    assert advice.extra_load <= 0.05


def test_two_tasks_that_stall_are_helped_together() -> None:
    """With a hedge of one alone, 3 % of the requests would still stall."""
    advice = advise(plain >> Task(store), {"fetch": SLOW, "store": SLOW}, requests=2000)
    assert set(advice.changes) == {"fetch", "store"}
    assert advice.after < 200
    assert advice.before > 400


def test_a_task_that_is_never_slow_is_left_as_it_is() -> None:
    backends = {"fetch": SLOW, "store": LatencyModel.constant(5)}
    advice = advise(plain >> Task(store), backends, requests=1000)
    assert set(advice.changes) == {"fetch"}


def test_a_trace_that_is_shorter_than_the_search_is_used_as_far_as_it_goes() -> None:
    advice = advise(plain, SLOW_AT_TIMES, arrivals=trace([10 * i for i in range(900)]), warmup=100)
    assert advice.comparison.simulations["now"].requests == 800
    assert advice.extra_load <= 0.05


@pytest.mark.parametrize(("extra_load", "text"), [(1, "Task(fetch).replica(2)"), (0.0, "")])
def test_the_extremes_of_the_extra_load(extra_load: float, text: str) -> None:
    advice = advise(plain, SLOW_AT_TIMES, extra_load=extra_load, requests=1000)
    assert advice.changes.get("fetch", "") == text


@pytest.mark.parametrize("make", [Task, lambda fn: Task(fn).named("x")], ids=["plain", "named"])
def test_a_blocking_function_and_a_named_task_are_advised_too(make: Any) -> None:
    def blocking(number: int) -> int:
        raise NotImplementedError

    task = make(blocking)
    [name] = [each.name for each in task.plan().tasks]
    advice = advise(task, {name: SLOW}, requests=2000)
    assert set(advice.changes) == {name}


def test_a_hedge_that_is_there_is_changed() -> None:
    advice = advise(plain.replica(2, after=300), SLOW_AT_TIMES, requests=2000)
    assert advice.helps
    assert task_policies(advice.chain)["fetch"].count == 2
    assert repr(advice.chain).count("replica") == 1


@pytest.mark.parametrize(
    "chain",
    [
        plain.timeout(300).retry(2),
        plain.timeout(69),
        plain.timeout(300).breaker(Breaker(3)).retry(1),
        plain.retry(2).timeout(900),
        plain.limit(GATE).timeout(500),
    ],
    ids=repr,
)
def test_lint_finds_nothing_new_in_the_advised_chain(chain: Any) -> None:
    before = {finding.code for finding in chain.lint()}
    advice = advise(chain, SLOW_AT_TIMES, requests=1000, extra_load=0.1)
    assert {finding.code for finding in advice.chain.lint()} <= before


def test_a_candidate_with_a_finding_of_lint_is_not_accepted() -> None:
    search = _search.Search(
        plain, setting(SLOW_AT_TIMES, requests=10), q=0.99, extra_load=0.05, tasks=["fetch"], look=lambda _, __: None
    )
    assert search.accepted({"fetch": Change(after=0.088, timeout=0.069)}) is None
    assert search.accepted({"fetch": Change(after=0.05, timeout=0.069)}) is not None


def test_a_change_that_makes_the_queue_unstable_is_not_accepted() -> None:
    """Retries of failures need more time of the workers than there is."""
    backends = {"fetch": LatencyModel.constant(100).failing(0.2, OSError)}
    advice = advise(plain, backends, requests=1000, extra_load=1, arrivals=poisson(97), workers=10)
    assert advice.chain is plain or simulate(advice.chain, backends, requests=1000, arrivals=poisson(97), workers=10)


# --- what to write --------------------------------------------------------------------------------------------------

shared_breaker = Breaker(4)
patience = Quantile(0.9)


@pytest.mark.parametrize(
    ("chain", "text"),
    [
        (plain.breaker(shared_breaker), "Task(fetch).breaker(shared_breaker)"),
        (plain.limit(GATE).timeout(50), "Task(fetch).limit(GATE).timeout(50)"),
        (plain.replica(2, after=patience), "Task(fetch).replica(2, after=patience)"),
        (decorated.timeout(50).named("x"), "decorated.timeout(50).named('x')"),
        (Task(lambda n: n + 1).retry(1), "Task(lambda n: n + 1).retry(1)"),
        (Task(str.upper).retry(1), "Task(upper).retry(1)"),
    ],
)
def test_a_changed_task_is_written_with_the_names_of_its_module(chain: Any, text: str) -> None:
    [task] = chain.plan().tasks
    assert written(chain, task.name) == text


def test_what_is_written_is_the_chain() -> None:
    chain = plain.breaker(shared_breaker).limit(GATE).timeout(200).retry(2, on=(OSError, TimeoutError))
    assert eval(written(chain, "fetch")) == chain  # noqa: S307


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (Breaker(3, name="payments"), "Breaker(3, name='payments')"),
        (
            Breaker(on=(OSError, ValueError), open_for=timedelta(seconds=2)),
            "Breaker(on=(OSError, ValueError), open_for=2000)",
        ),
        (Limit(rate=3, key=abs), "Limit(rate=3, key=abs)"),
    ],
)
def test_an_object_without_a_name_is_written_as_the_call_that_makes_it(given: Any, text: str) -> None:
    chain = plain.breaker(given) if isinstance(given, Breaker) else plain.limit(given)
    found = written(chain, "fetch")
    assert text in found
    assert repr(eval(found).node.policy) == repr(given)  # noqa: S307


def test_text_can_be_pasted_as_it_is(advice: Advice[..., Any]) -> None:
    code = str(advice).partition("\n\n")[2]
    assert eval(code) == advice.chain  # noqa: S307


# --- progress ---------------------------------------------------------------------------------------------------


def test_progress_is_shown_as_lines_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    advice = advise(plain, SLOW_AT_TIMES, requests=500, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    last = shown.err.splitlines()[-1]
    assert last.startswith("advise fetch: ")
    assert "requests simulated, p99 now 4" in last
    assert "best " in last
    assert advice.helps


def test_progress_is_not_shown_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    advise(plain, SLOW_AT_TIMES, requests=500)
    assert capsys.readouterr() == ("", "")


def test_the_view_is_closed_if_the_search_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[bool] = []
    monkeypatch.setattr(LineOutput, "close", lambda _: closed.append(True))

    async def broken(number: int) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        advise(plain, {"fetch": broken}, progress=True)
    assert closed == [True]


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
