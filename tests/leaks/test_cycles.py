"""Runs that end in another way than an awaited one leave no cycle either: the argument is gone without a collector."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from leaks.baseline import EXECUTORS, Bodies
from waiting import eventually

from rio_chain import Balancer, Batch, Task, each


class Value:
    """Something heavy; it crosses to the process of a lane."""


class Stops(BaseException):
    """Ends a run as a cancellation would."""


async def fails(_: Value) -> None:
    raise OSError


async def stops(_: Value) -> None:
    raise Stops


def late_error(_: Value) -> None:
    time.sleep(0.02)
    raise OSError


def in_lane(x: Value) -> None:
    raise OSError(type(x).__name__)


def posted(balancer: Balancer, _: Bodies, value: Value) -> None:
    ticket = balancer.post(Task(fails)(value))
    for _k in range(3):
        with pytest.raises(OSError):  # noqa: PT011
            ticket.wait().unwrap()
    del ticket  # it keeps the error, whose traceback keeps the function that caught it last: this one


def ran_and_unwrapped(balancer: Balancer, _: Bodies, value: Value) -> None:
    with pytest.raises(OSError):  # noqa: PT011
        balancer.run(Task(fails)(value)).unwrap()


def stopped(balancer: Balancer, _: Bodies, value: Value) -> None:
    with suppress(Stops):
        balancer.run(Task(stops)(value))


def mapped(balancer: Balancer, _: Bodies, value: Value) -> None:
    for as_completed in (True, False):
        for outcome in balancer.map(Task(fails), [value] * 5, as_completed=as_completed):
            assert outcome.value_or(None) is None


def streamed(balancer: Balancer, _: Bodies, value: Value) -> None:
    for event in Task(fails).retry(1, backoff=None)(value).stream(executor=balancer._binding.name):
        assert event.kind


def stream_left(balancer: Balancer, body: Bodies, value: Value) -> None:
    for event in (Task(body.aanswer) >> Task(body.astay))(value).stream(executor=balancer._binding.name):
        assert event.kind
        break


def cancelled(balancer: Balancer, body: Bodies, value: Value) -> None:
    ticket = balancer.post((Task(body.astay) & Task(body.astay))(value))
    ticket.cancel()
    assert ticket.wait().value_or(None) is None


def out_of_time(balancer: Balancer, body: Bodies, value: Value) -> None:
    assert balancer.run((Task(body.aanswer) & Task(body.astay))(value), deadline=5).value_or(None) is None


def abandoned(balancer: Balancer, _: Bodies, value: Value) -> None:
    assert balancer.run(Task(late_error).timeout(2).or_else(1)(value)).unwrap() == 1


def made_for_it(balancer: Balancer, _: Bodies, value: Value) -> None:
    def chosen(x: Value) -> object:
        return (Task(lambda: x) >> (lambda _: x) >> Task(fails))()

    assert balancer.run(Task(chosen)(value)).value_or(None) is None


BATCHES = Batch(), Batch(size=1, scope="shared")


async def none_of(_: list[Value]) -> list[int]:
    return []


def batched(balancer: Balancer, body: Bodies, value: Value) -> None:
    for batch in BATCHES:
        for fn in (fails, none_of):
            assert balancer.run(each(Task(fn).batch(batch), limit=2)([value, value])).value_or(None) is None
        assert balancer.run(Task(body.astay).batch(batch).timeout(5)(value)).value_or(None) is None


WAYS = (
    posted, ran_and_unwrapped, stopped, mapped, streamed, stream_left, cancelled, out_of_time, abandoned, made_for_it,
    batched,
)  # fmt: skip


@pytest.fixture
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("way", WAYS)
def test_the_argument_is_gone(
    executor: str, way: Callable[[Balancer, Bodies, Value], None], body: Bodies, collector_off: None
) -> None:
    with Balancer(executor) as balancer:
        for _ in range(2):
            value = Value()
            ref = weakref.ref(value)
            way(balancer, body, value)
            del value
            eventually(lambda: ref() is None, "that the argument was gone")  # noqa: B023


@pytest.mark.parametrize("executor", EXECUTORS)
def test_that_of_a_lane_is_gone(executor: str, collector_off: None) -> None:
    with Balancer(executor, lanes={"cpu": 1}) as balancer:
        value = Value()
        ref = weakref.ref(value)
        error = balancer.run(Task(in_lane).lane("cpu")(value)).result.failure()
        del value
        eventually(lambda: ref() is None, "that the argument was gone")
        assert str(error) == "Value"


def test_a_plan_leaves_nothing() -> None:
    def chain() -> None:
        (Task(fails) >> (lambda n: n) >> (Task(fails) & Task(stops)) >> Task(late_error)).retry(1).plan()

    chain()
    gc.collect()
    gc.disable()
    try:
        chain()
        assert gc.collect() == 0
    finally:
        gc.enable()
