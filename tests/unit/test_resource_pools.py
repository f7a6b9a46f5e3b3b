"""``Balancer(resources=...)``: what it takes, and that it leaves nothing behind."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Mapping
from typing import Any

import pytest

from rio_chain import Balancer, ChainDefinitionError, Task, simulate
from rio_chain.balancer._resources import WITH_RESOURCES, BalancerResources, ResourceUse
from rio_chain.simulation import LatencyModel


async def fetch(x: Any) -> Any:
    return x


TASK = Task(fetch).resources(gpu=1)


def test_amounts_are_numbers_and_sizes() -> None:
    with Balancer("virtual", resources={"gpu": 1, "memory": "8GiB", "part": 0.5}) as balancer:
        assert balancer.stats().resources == {
            "gpu": ResourceUse(0.0, 1.0, 0),
            "memory": ResourceUse(0.0, 2.0**33, 0),
            "part": ResourceUse(0.0, 0.5, 0),
        }


@pytest.mark.parametrize(
    "given", [0, -1, True, None, "2", "GiB", "2 gigabytes", "0B", float("nan"), float("inf"), [1], 10**400]
)
def test_what_is_no_amount_is_refused(given: Any) -> None:
    with pytest.raises(ChainDefinitionError, match=r"`gpu` of `resources` must be a number above 0, or a size such as"):
        Balancer(resources={"gpu": given})


@pytest.mark.parametrize("given", [1, "gpu", ["gpu"], True])
def test_what_is_no_mapping_is_refused(given: Any) -> None:
    with pytest.raises(ChainDefinitionError, match=r"`resources` must be a dict such as \{\"gpu\": 1, .*; got "):
        Balancer(resources=given)


@pytest.mark.parametrize("name", [1, None, "", "two words", ("gpu",)])
def test_a_name_that_no_task_can_write_is_refused(name: Any) -> None:
    given: Mapping[Any, Any] = {name: 1}
    with pytest.raises(ChainDefinitionError, match=r"`resources` must have names that `\.resources\(name=\.\.\.\)`"):
        Balancer(resources=given)


def test_on_dask_the_workers_have_them() -> None:
    with pytest.raises(ChainDefinitionError, match=r"leave `resources=` out, .*dask worker --resources"):
        Balancer("dask", resources={"gpu": 1})


def test_a_plan_keeps_no_balancer_alive() -> None:
    plan = TASK.plan()
    made = BalancerResources({"gpu": 1}, None)
    assert made.plan(plan) is made.plan(plan) is not plan
    assert len(plan.programs[WITH_RESOURCES]) == 1
    gone = weakref.ref(made)
    del made
    gc.collect()
    assert gone() is None
    assert not plan.programs[WITH_RESOURCES]


def test_a_plan_without_resources_stays_the_same() -> None:
    plan = Task(fetch).plan()
    assert BalancerResources({"gpu": 1}, None).plan(plan) is plan


def test_it_changes_no_responses() -> None:
    chain = TASK.retry(1) >> Task(fetch).named("next")
    with Balancer("virtual", resources={"gpu": 1}) as balancer:
        outcome = balancer.run(chain(1))
    assert [(one.name, one.status) for one in outcome.responses] == [("fetch", "succeeded"), ("next", "succeeded")]


def test_a_task_in_a_lane_waits_as_well() -> None:
    task = Task(len).lane("cpu").resources(gpu=1)
    with Balancer("virtual", lanes={"cpu": 2}, resources={"gpu": 1}) as balancer:
        assert [outcome.unwrap() for outcome in balancer.map(task, ["a", "bb"])] == [1, 2]
        assert balancer.stats().resources["gpu"].used == 0


@pytest.mark.parametrize(("resources", "takes"), [(None, 10), ({"gpu": 10}, 10), ({"gpu": 2}, 50), ({"gpu": 1}, 100)])
def test_simulate_has_them(resources: Mapping[str, float] | None, takes: float) -> None:
    pytest.importorskip("scipy")
    from rio_chain import fan_out  # noqa: PLC0415

    parts = [TASK.named(f"part{k}") for k in range(10)]
    backends = {f"part{k}": LatencyModel.constant(10) for k in range(10)}
    found = simulate(fan_out(*parts), backends, requests=20, resources=resources)
    assert found.latency.p99 == pytest.approx(takes)


def test_the_text_of_a_pool_says_what_is_used() -> None:
    pool = BalancerResources({"gpu": 2, "disk": 0.5}, None).pool
    assert repr(pool) == "<resources: 0 of 0.5 disk, 0 of 2 gpu used>"
