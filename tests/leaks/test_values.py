"""Nothing of a request is kept when it is over: no argument, no value, no error, no context of the poster."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
from leaks.baseline import EXECUTORS, Bodies
from leaks.loops import LOOPS, Loop
from waiting import eventually

from rio_chain import Balancer, Task, settle

VAR: ContextVar[Any] = ContextVar("VAR", default=None)


class Value:
    """Something heavy."""


@contextmanager
def forgotten() -> Iterator[Callable[[], Value]]:
    """Makes values, and sees to it that they are gone at the end."""
    made: list[weakref.ref[Value]] = []

    def make() -> Value:
        value = Value()
        made.append(weakref.ref(value))
        return value

    yield make
    gc.collect()
    assert made
    eventually(lambda: not any(ref() for ref in made), "that every value was forgotten")


def use(balancer: Balancer, body: Bodies, make: Callable[[], Value]) -> None:
    """One request after the other ends in every way, each with a value of its own."""

    async def fail_with(x: Value) -> None:
        raise ValueError(x)

    whole = (Task(body.answer) >> (Task(body.aanswer) & Task(body.answer))).timeout(9_000).retry(1)
    assert balancer.run(whole(make())).result
    assert balancer.run((Task(fail_with) & Task(body.astay))(make())).result
    assert balancer.run(settle(Task(body.astay), Task(body.stay)).timeout(5)(make())).result
    body.open.set()
    running = [balancer.post(Task(body.astay)(make())) for _ in range(2)]
    waiting = [balancer.post(Task(body.answer)(make()), queue_timeout=t) for t in (None, 30_000)]
    for ticket in (*waiting, *running):
        ticket.cancel()
        ticket.wait(5_000)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_balancer_forgets_what_it_has_run(executor: str, body: Bodies) -> None:
    with Balancer(executor, workers=2, max_abandoned=9) as balancer, forgotten() as make:
        use(balancer, body, make)


@pytest.mark.parametrize("executor", EXECUTORS)
def test_the_shared_hosts_forget_what_they_have_run(executor: str, body: Bodies) -> None:
    with forgotten() as make:
        chain = (Task(body.answer) >> Task(body.aanswer)).timeout(9_000)
        assert chain(make()).run(executor=executor).result


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_balancer_forgets_the_context_it_was_used_in(executor: str, body: Bodies) -> None:
    def with_a_value(value: Value) -> None:
        VAR.set(value)
        assert balancer.run((Task(body.answer) >> Task(body.aanswer))(1)).unwrap() == 1
        assert balancer.post(Task(VAR.get)()).wait().unwrap() is value

    with forgotten() as make:
        balancer = Balancer(executor, workers=2)
        copy_context().run(with_a_value, make())
        with balancer:
            gc.collect()


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_a_native_balancer_forgets_what_it_has_run_and_where(loop: Loop, body: Bodies) -> None:
    async def use_it(value: Value) -> None:
        VAR.set(value)
        for chain in (Task(body.aanswer), Task(body.aanswer) & Task(body.answer)):
            assert (await balancer.arun(chain(value))).result
            assert (await chain(value)).result
            assert (await balancer.post(chain(value))).result

    async def main() -> None:
        with forgotten() as make:
            await loop.together(lambda: use_it(make()))
        await balancer.aclose()

    balancer = Balancer()
    loop.run(main)
