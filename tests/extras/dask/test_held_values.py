"""A large value that only other pieces get stays on the workers."""

from __future__ import annotations

from typing import Any

from extras.dask.bodies import big, first_byte, joined_length

from rio_chain import Balancer, DaskExecutor, Task, fan_out
from rio_chain.executors.dask._messages import OnWorker

SIZE = 50_000_000


def test_a_large_value_between_two_nodes_never_visits_the_client(address: str) -> None:
    """Messages to and from the client may have 1 MB, and the value has 50."""
    chain = Task(big).named("big") >> (Task(len).named("size") & Task(first_byte).named("first"))
    with Balancer(DaskExecutor(address, message_bytes=1_000_000)) as balancer:
        outcome = balancer.run(chain(SIZE))
    assert outcome.unwrap() == (SIZE, 0)
    left: Any = outcome["big"].result.unwrap()
    assert isinstance(left, OnWorker)
    assert repr(left).startswith("<a value of 50,000,0")
    assert outcome["big"].status == "succeeded"


def test_large_values_of_branches_are_joined_on_a_worker(address: str) -> None:
    chain = fan_out(a=Task(big).named("a"), b=Task(big).named("b"), n=Task(int)) >> Task(joined_length)
    with Balancer(DaskExecutor(address, message_bytes=1_000_000)) as balancer:
        outcome = balancer.run(chain(SIZE))
    assert outcome.unwrap() == 2 * SIZE
    assert [one.status for one in outcome] == ["succeeded"] * 4


def test_nothing_of_them_is_left_behind(cluster: Any, address: str) -> None:
    with Balancer(DaskExecutor(address)) as balancer:
        balancer.run((Task(big) >> (Task(len) & Task(first_byte)))(SIZE)).unwrap()
        balancer.run(Task(len)("ab")).unwrap()
        for _ in range(100):
            held = [key for key in cluster.scheduler.tasks if str(key).startswith("rio_chain")]
            if not held:
                break
            balancer.run(Task(len)("ab")).unwrap()
        assert len(held) <= 1
