"""What is kept on Dask gives the same Outcome as on asyncio: value or error, statuses, attempts and items."""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

import pytest
from extras.dask import bodies
from extras.dask.bodies import (
    both,
    doubled,
    fails,
    fails_twice,
    halves,
    is_even,
    key_of,
    odd_fails,
    plus,
    process,
    time_left,
    total,
    twice,
)
from laws.dag_values import said

from rio_chain import (
    Backoff,
    Balancer,
    Batch,
    Breaker,
    Cache,
    Chain,
    Limit,
    Outcome,
    Quantile,
    SingleFlight,
    Task,
    at_least,
    best,
    choose,
    each,
    expand,
    fan_out,
    quorum,
    race,
    reduce,
    settle,
    when,
)


def is_small(error: Exception) -> bool:
    return int(error.args[0]) < 50


user = Task(plus).named("user")

KEPT: dict[str, tuple[Any, Any]] = {
    "a row": (Task(plus) >> Task(twice) >> plus >> Task(twice), 3),
    "several arguments": (Task(both) >> Task(plus), (3, 4)),
    "timeout that holds": (Task(twice).timeout(5_000), 3),
    "timeout that passes": (Task(bodies.long).timeout(50), 3),
    "a timeout around several": ((Task(plus) & Task(bodies.long)).timeout(1_000) | 7, 3),
    "retry": (Task(fails_twice).retry(2, backoff=Backoff(base=1)), 3),
    "retry that gives up": (Task(fails).retry(2, backoff=None) >> Task(plus), 3),
    "a retry around several": ((Task(plus) & (Task(fails_twice))).retry(2, backoff=None), 3),
    "accept": (Task(plus).retry(1, backoff=None, accept=is_even), 2),
    "fallback": (Task(fails) | Task(plus), 3),
    "a handler": (Task(fails) | str, 3),
    "a fallback around several": ((Task(fails) & Task(plus)) | Task(plus), 3),
    "replica": (Task(twice).replica(2), 3),
    "a replica that fails over": (Task(fails_twice).replica(3, after=None), 3),
    "race": (race(Task(plus), Task(bodies.long)), 3),
    "best": (race(Task(plus), Task(twice), pick=best(int, within=5_000)), 3),
    "quorum": (race(Task(plus), Task(plus), Task(bodies.long), pick=quorum(2)), 3),
    "fan-out": (fan_out(a=Task(plus), b=Task(twice) >> Task(plus)) >> Task(dict.__len__), 3),
    "a fan-out in a fan-out": ((Task(plus) & (Task(twice) & Task(plus))) >> Task(len), 3),
    "a fan-out that fails": ((Task(fails) & Task(bodies.long)) >> Task(len), 3),
    "settle": (settle(Task(plus), Task(fails)), 3),
    "need": (fan_out(Task(plus), Task(fails), Task(twice), need=2) >> Task(len), 3),
    "each": (each(Task(plus).retry(1), limit=3), list(range(20))),
    "each in order of items with a reduce": (each(Task(twice)) >> reduce(both, 0), [1, 2]),
    "each that keeps failures": (each(Task(odd_fails), on_error="keep"), list(range(6))),
    "each that drops failures": (each(Task(odd_fails), on_error=at_least(2)), list(range(6))),
    "each that fails": (each(Task(odd_fails), limit=1), [0, 2, 1, 4]),
    "each of a fan-out": (each((Task(plus) & Task(twice)) >> Task(total)), [1, 2, 3]),
    "expand": (expand(Task(halves)), 8),
    "choose": (choose(when(is_even, Task(plus)), otherwise=Task(twice)), 3),
    "choose with a fan-out": (choose(when(is_even, Task(plus)), otherwise=Task(plus) & Task(twice)), 3),
    "using": (user >> Task(twice) >> (Task(both).using(right=user)), 3),
    "using across a fan-out": (user >> (Task(twice) & Task(plus)) >> total >> Task(both).using(right=user), 3),
    "a bridge that fails": (Task(plus) >> fails >> Task(plus), 3),
    "a Request that a task returns": (Task(bodies.asks).named("nested"), 3),
    "a breaker": (Task(fails).breaker(Breaker(2)).retry(3, backoff=None), 3),
    "a limit": (Task(plus).limit(Limit(1)) & Task(plus).limit(Limit(2, rate=100)), 3),
    "a cache": (Task(plus).cache(Cache(10)), 3),
    "a batch": (each(Task(doubled).batch(Batch(wait=20)), limit=10), [1, 2, 3, 2]),
    "a batch of several tasks": (each((Task(doubled) >> list).batch(Batch(wait=20))) >> Task(total), [1, 2, 3]),
    "single flight": (Task(twice).single_flight(SingleFlight()), 3),
    "so many items": (each(Task(odd_fails), drop=ValueError, take=30), range(400)),
    "items until a value": (each(Task(plus), take=lambda value: value < 77), range(400)),
    "items until an error": (each(Task(odd_fails), drop=is_small, on_error="stop"), range(400)),
    "items within a time": (each(Task(bodies.long_if_three), limit=8, time_limit=500, on_timeout="keep"), range(8)),
    "items not within their time": (each(Task(bodies.long), limit=1, time_limit=50), range(1)),
    "branches within a time": (settle(Task(plus), Task(bodies.long), time_limit=300), 3),
}  # fmt: skip


RACY = {
    "items until an error",
    "items until a value",
    "items within a time",
    "branches within a time",
    "replica",
    "race",
    "quorum",
    "a timeout around several",
    "a retry around several",
    "a fallback around several",
    "a fan-out that fails",
    "need",
}
"""How far a branch has come when another one ends it is a matter of time."""


def told(outcome: Outcome[Any], *, racy: bool = False) -> Any:
    tasks = [(one.name, one.status, one.attempts, dict(one.counts)) for one in outcome]
    result = said(outcome.result) if outcome.ok else type(outcome.error), str(outcome.error).partition(" ms")[0][:30]
    return result if racy else (result, tasks)


@pytest.mark.parametrize("name", KEPT)
def test_it_gives_the_same_outcome_as_on_asyncio(balancer: Balancer, name: str) -> None:
    chain, given = KEPT[name]
    args = given if isinstance(given, tuple) else (given,)
    request = chain(*args)
    assert chain.supports("dask")
    racy = name in RACY
    assert told(balancer.run(request), racy=racy) == told(request.run(executor="asyncio"), racy=racy)


def test_take_of_a_number_begins_no_more_items_than_in_one_process(balancer: Balancer) -> None:
    outcome = balancer.run(each(Task(plus), limit=4, take=77)(range(1_000)))
    assert dict(outcome.only.counts) == {"succeeded": 77}


def test_bodies_run_on_workers_and_branches_in_parallel(balancer: Balancer) -> None:
    processes = balancer.run(each(Task(process), limit=8)(range(50))).unwrap()
    assert os.getpid() not in processes
    assert len(set(processes)) == 2


def test_times_of_a_piece_are_within_those_of_the_run(balancer: Balancer) -> None:
    outcome = balancer.run((Task(twice) >> Task(twice).retry(2))(3))
    first, second = outcome
    assert 0 <= first.began <= first.began + first.elapsed <= second.began
    assert second.began + second.elapsed <= outcome.elapsed
    assert first.elapsed >= 2


def test_a_worker_has_what_is_left_of_the_deadline(balancer: Balancer) -> None:
    left = balancer.run(Task(time_left)(None), deadline=5_000).unwrap()
    assert 1_000 < left < 5_000


def test_all_attempts_of_a_task_have_one_idempotency_key(balancer: Balancer) -> None:
    keys = balancer.run(each(Task(key_of).replica(2))([1, 2])).unwrap()
    assert len(set(keys)) == 2
    again = Task(key_of).named("a") >> (lambda key: [key, key_of(key)])
    assert len(set(balancer.run(again(None)).unwrap())) == 1


def test_a_shared_policy_is_one_per_worker_process(balancer: Balancer) -> None:
    """Two chains that share one breaker share it on a worker, too; the one in the client has seen nothing."""
    breaker = Breaker(1)
    ends = [balancer.run(Task(fails).breaker(breaker)(n)).error for n in range(20)]
    kinds = [type(error).__name__ for error in ends]
    assert 1 <= kinds.count("ValueError") <= 2  # on each worker the first
    assert kinds.count("CircuitOpen") == 20 - kinds.count("ValueError")
    assert breaker.state == "closed"


def test_a_limit_of_so_many_at_once_is_exact(balancer: Balancer) -> None:
    limit = Limit(1)
    chain: Chain[[float], float] = Task(bodies.Pausing(0.01)).limit(limit)
    spans = sorted(balancer.run(each(chain, limit=5)(range(5))).unwrap())
    assert all(ended <= began for (_, ended), (began, _) in pairwise(spans))


def test_calls_of_several_items_and_branches_are_one_call_on_a_worker(balancer: Balancer) -> None:
    user = Task(bodies.in_one_call).named("user").batch(Batch(wait=200))
    outcome = balancer.run((each(user, limit=10) >> Task(list))([1, 2, 3]))
    processes = {process for process, _ in outcome.unwrap()}
    assert len(processes) == 1
    assert processes != {os.getpid()}
    assert [asked for _, asked in outcome.unwrap()] == [3, 3, 3]
    assert outcome["user"].attempts == 1


def test_a_replica_with_a_learned_delay_learns_in_the_client(balancer: Balancer) -> None:
    delay = Quantile(0.5, warmup=3)
    for _ in range(3):
        assert balancer.run(Task(plus).replica(2, after=delay)(3)).unwrap() == 4
    assert delay.value() is not None
