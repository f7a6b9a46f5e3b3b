"""Batches over backends that are drawn: a model answers for each key."""

from __future__ import annotations

from typing import Any

import pytest

from rio_chain import Batch, Finding, Limit, Task, each, fan_out
from rio_chain.simulation import LatencyModel, Script, simulate
from rio_chain.simulation._batched_answers import answers_batch


async def fetch_many(keys: list[int]) -> list[str]:
    raise AssertionError(keys)


async def ids(keys: list[int]) -> list[int]:
    raise AssertionError(keys)


user = Task(fetch_many).retry(1).batch(Batch(size=10, wait=5))
STEADY = LatencyModel.constant(20)


def test_a_model_stands_for_the_one_call() -> None:
    page = each(user, limit=10)
    found = simulate(page, {"fetch_many": STEADY.returning("x")}, requests=20, inputs=[[*range(10)]] * 20)
    assert ", 0 % failed>" in repr(found)
    assert found.latency.quantile(0.5) == pytest.approx(20)


def test_a_limit_inside_counts_the_calls_of_the_backend() -> None:
    """Ten items are one call, so a limit of one holds nobody up; without a batch nine of ten would wait."""
    backends = {"fetch_many": STEADY}
    batched = each(Task(fetch_many).limit(Limit(1)).batch(Batch(size=10)), limit=10)
    found = simulate(batched, backends, requests=1, inputs=[[*range(10)]])
    assert found.latency.quantile(0.5) == pytest.approx(20)
    single = each(Task(fetch_many).limit(Limit(1)), limit=10)
    found = simulate(single, backends, requests=1, inputs=[[*range(10)]])
    assert found.latency.quantile(0.5) == pytest.approx(200)


def test_the_real_batch_is_not_touched() -> None:
    batch = Batch()
    simulate(Task(fetch_many).batch(batch), {"fetch_many": STEADY}, requests=5)
    assert "0 calls" in repr(batch)


def test_with_backends_takes_models_and_scripts() -> None:
    page = each(user, limit=3)
    by_model = page.with_backends({"fetch_many": LatencyModel.constant(1).returning("x")})
    assert by_model([1, 2, 1]).run().unwrap() == ["x", "x", "x"]
    script = Script().always(["a", "b"])
    assert sorted(page.with_backends({"fetch_many": script})([1, 2]).run().unwrap()) == ["a", "b"]
    assert len(script.calls) == 1


def test_which_tasks_answer_for_a_batch() -> None:
    longer = (Task(ids).named("first") >> Task(fetch_many).named("last")).batch(Batch())
    chain = fan_out(Task(ids), longer, Task(ids).named("x").or_else(Task(fetch_many).named("y")).batch(Batch()))
    assert answers_batch(chain.plan().root) == {2, 3, 4}
    assert answers_batch(each(user, limit=2).plan().root) == {0}


class TestLint:
    def codes(self, findings: tuple[Finding, ...]) -> list[tuple[str, str]]:
        return [(finding.code, finding.better) for finding in findings]

    def test_an_each_below_the_size(self) -> None:
        below, enough = each(user, limit=9), each(user, limit=10)
        assert self.codes(below.lint()) == [("items-below-batch", "each(Task(fetch_many).retry(1).batch(batch))")]
        assert "no more than 9 items run at once, so a batch with room for 10" in below.lint()[0].text
        assert enough.lint() == user.lint() == ()
        wide: Any = each(each(user, limit=5), limit=2)
        assert wide.lint() == ()
        narrow: Any = each(each(user, limit=4), limit=2)
        assert self.codes(narrow.lint()) == [
            ("items-below-batch", "each(each(Task(fetch_many).retry(1).batch(batch), limit=4), limit=3)")
        ]

    def test_a_balancer_below_the_size_of_a_shared_batch(self) -> None:
        shared = Task(fetch_many).batch(Batch(size=20, scope="shared"))
        assert self.codes(shared.lint(workers=10)) == [("workers-below-batch", "Balancer(workers=20)")]
        assert shared.lint(workers=20) == shared.lint() == ()
        assert user.lint(workers=1) == (), "a request has batches of its own"
        assert each(shared, limit=20).lint(workers=1) == ()
