"""A large value that only other pieces get stays on the workers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from extras.dask.bodies import big, first_byte, joined_length

from rio_chain import (
    Balancer,
    CallbackFailed,
    Chain,
    DaskExecutor,
    NotAccepted,
    Task,
    best,
    choose,
    fan_out,
    first,
    race,
    when,
)
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


def test_a_gigabyte_between_two_nodes_takes_no_memory_of_the_client(address: str) -> None:
    """The peak of its resident memory, as Linux counts it."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        pytest.skip("needs /proc of Linux")

    def peak() -> int:
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0])

    chain = Task(big).named("big") >> (Task(len).named("size") & Task(first_byte).named("first"))
    with Balancer(DaskExecutor(address)) as balancer:
        balancer.run(chain(1_000)).unwrap()
        reset.write_text("5")
        before = peak()
        assert balancer.run(chain(1_000_000_000)).unwrap() == (1_000_000_000, 0)
        assert peak() - before < 50_000


def test_large_values_of_branches_are_joined_on_a_worker(address: str) -> None:
    chain = fan_out(a=Task(big).named("a"), b=Task(big).named("b"), n=Task(int)) >> Task(joined_length)
    with Balancer(DaskExecutor(address, message_bytes=1_000_000)) as balancer:
        outcome = balancer.run(chain(SIZE))
    assert outcome.unwrap() == 2 * SIZE
    assert [one.status for one in outcome] == ["succeeded"] * 4


def long_enough(data: bytes) -> bool:
    return len(data) > 1_000


def both_long_enough(two: tuple[bytes, bytes]) -> bool:
    return all(map(long_enough, two))


def breaks(_: object) -> bool:
    raise LookupError("no idea")


QUESTIONS: dict[str, tuple[Chain[[int], Any], Any]] = {
    "accept around several": ((Task(big) & Task(big)).accept(both_long_enough) >> Task(len), 2),
    "a retry that accepts": ((Task(big) & Task(big)).retry(1, accept=both_long_enough) >> Task(len), 2),
    "choose": (Task(big) >> choose(when(long_enough, Task(len) & Task(first_byte)), otherwise=Task(str)), (SIZE, 0)),
    "choose by class": (Task(big) >> choose(when(bytes, Task(len) & Task(first_byte)), otherwise=Task(str)), (SIZE, 0)),
    "best": (race(Task(big), Task(big), pick=best(len, within=2_000, enough=1_000)) >> Task(len), SIZE),
    "replica": (Task(big).replica(2, pick=first(accept=long_enough)) >> Task(len), SIZE),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_predicates_and_scores_are_called_where_a_large_value_is(address: str, name: str) -> None:
    chain, expected = QUESTIONS[name]
    with Balancer(DaskExecutor(address, message_bytes=1_000_000)) as balancer:
        assert balancer.run(chain(SIZE)).unwrap() == expected


def test_a_question_that_fails_or_refuses_names_the_function_and_the_size(address: str) -> None:
    two = Task(big).named("a") & Task(big).named("b")
    with Balancer(DaskExecutor(address, message_bytes=1_000_000)) as balancer:
        error = balancer.run((two.accept(breaks) >> Task(len))(SIZE)).error
        assert isinstance(error, CallbackFailed)
        assert (error.role, error.callback) == ("accept", "breaks")
        assert repr(error.error) == "LookupError('no idea')"
        error = balancer.run((two.accept(lambda _: False) >> Task(len))(SIZE)).error
        assert isinstance(error, NotAccepted)
        assert repr(error.value).count("which has stayed on a worker") == 2


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
