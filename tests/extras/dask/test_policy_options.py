"""The options of policies and items that ask functions of the user, when the calls run on workers."""

from __future__ import annotations

import time
from typing import Any

from extras.dask.bodies import big, first_byte

from rio_chain import Balancer, DaskExecutor, Limit, Quantile, Task, TaskTimedOut, each

SIZE = 2_000_000


def odd_fails(number: int) -> int:
    if number % 2:
        raise ValueError(number)
    return number


def slow(number: int) -> int:
    time.sleep(0.04)
    return number


def test_items_end_after_so_many_values_and_some_failures_are_left_out(address: str) -> None:
    with Balancer(DaskExecutor(address)) as balancer:
        taken = each(Task(odd_fails), drop=ValueError, take=3)
        assert balancer.run(taken(range(1_000))).unwrap() == [0, 2, 4]
        while_small = each(Task(odd_fails), drop=ValueError, take=lambda value: value < 6)
        assert balancer.run(while_small(range(1_000))).unwrap() == [0, 2, 4]
        stopped = each(Task(odd_fails), limit=4, on_error="stop")
        assert balancer.run(stopped([0, 2, 4, 5, 6, 7])).unwrap() == [0, 2, 4]


def minute_if_whole(value: bytes) -> float:
    return 60_000 if len(value) == SIZE else 0


def no_wait_if_whole(state: Any) -> float:
    return 0.0 if len(state.args[0]) == SIZE else -1


def test_functions_that_read_the_input_get_it_and_no_handle(address: str) -> None:
    first = Task(big).named("big")
    with Balancer(DaskExecutor(address)) as balancer:
        assert balancer.run((first >> Task(first_byte).timeout(minute_if_whole))(SIZE)).unwrap() == 0
        late = Quantile(warmup=1, key=len)
        assert balancer.run((first >> Task(first_byte).replica(2, after=late))(SIZE)).unwrap() == 0
        # around two tasks and a limit, which is in the client
        around = first >> (Task(first_byte) >> Task(slow).limit(Limit(9))).replica(2, after=late).timeout(
            minute_if_whole
        )
        assert balancer.run(around(SIZE)).unwrap() == 0
        failing = first >> Task(odd_fails).limit(Limit(9)).retry(1, backoff=no_wait_if_whole)
        assert isinstance(balancer.run(failing(SIZE)).error, TypeError)


def test_a_timeout_of_calls_on_workers(address: str) -> None:
    with Balancer(DaskExecutor(address)) as balancer:
        assert isinstance(balancer.run(Task(slow).timeout(float)(5)).error, TaskTimedOut)
        assert balancer.run(Task(odd_fails).retry(9, backoff=None, stop=is_second)(1)).only.attempts == 2


def is_second(state: Any) -> bool:
    return bool(state.attempt_number == 2)
