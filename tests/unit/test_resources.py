"""``.resources``: what a worker of a cluster must have for a task."""

from typing import Any

import pytest

from rio_chain import ChainDefinitionError, Task
from rio_chain._core.pickling import loads, plain_dumps
from rio_chain.chain._resources import together

TASK = Task(len).resources(gpu=1, memory="2GiB")


def test_it_is_a_part_of_the_task_and_of_its_source() -> None:
    assert repr(TASK) == "Task(len).resources(gpu=1, memory=2147483648)"
    assert Task(len) != TASK
    assert Task(len).resources(memory=2**31).resources(gpu=1) == TASK
    assert loads(plain_dumps(TASK.plan())) == TASK.plan()
    assert TASK.plan().to_dict()["tasks"][0]["resources"] == {"gpu": 1.0, "memory": 2147483648.0}
    assert str(TASK.explain()) == "task len (sync, needs gpu=1, memory=2147483648)"


def test_on_other_executors_it_has_no_effect() -> None:
    assert TASK("four").run().unwrap() == 4


@pytest.mark.parametrize(
    ("given", "amount"), [(1, 1), (0.5, 0.5), ("2GiB", 2**31), ("500MB", 5e8), ("1.5 kB", 1500), ("3B", 3)]
)
def test_amounts(given: Any, amount: float) -> None:
    assert Task(len).resources(it=given) == Task(len).resources(it=amount)


@pytest.mark.parametrize("given", [0, -1, True, None, "2", "GiB", "2 gigabytes", "0B", float("nan"), float("inf")])
def test_what_is_no_amount_is_refused(given: Any) -> None:
    with pytest.raises(ChainDefinitionError, match=r"`gpu` of `\.resources\(\)` must be a number above 0"):
        Task(len).resources(gpu=given)


def test_without_any_it_is_refused() -> None:
    with pytest.raises(ChainDefinitionError, match="needs at least one"):
        Task(len).resources()


def test_a_chain_says_that_it_belongs_to_the_task() -> None:
    chain: Any = Task(len).timeout(100)
    with pytest.raises(AttributeError, match="belongs to the Task"):
        chain.resources(gpu=1)


def test_tasks_of_one_piece_need_the_most_of_each() -> None:
    assert together([(("gpu", 1.0), ("memory", 5.0)), (("memory", 3.0), ("disk", 1.0))]) == {
        "gpu": 1.0,
        "memory": 5.0,
        "disk": 1.0,
    }
