"""What is given to a balancer wrongly, or at the wrong place, is refused there, each with an error of its own."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest

from rio_chain import Balancer, BalancerClosed, ChainDefinitionError, Event, QueueFull, Task, UsageError

on_each = pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])


def same(x: Any) -> Any:
    return x


# --- aging --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("aging", "shown"),
    [
        (0, "0"),
        (-1, "-1"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (True, "True"),
        ("1s", "'1s'"),
        (timedelta(0), "datetime.timedelta(0)"),
        (timedelta(seconds=-1), "datetime.timedelta(days=-1, seconds=86399)"),
    ],
)
def test_an_aging_that_is_none_is_refused_with_the_rule_and_the_right_code(aging: Any, shown: str) -> None:
    with pytest.raises(ChainDefinitionError) as caught:
        Balancer(aging=aging)
    assert str(caught.value) == (
        f"`aging` must be a finite number of milliseconds (or a timedelta), more than 0; got {shown}; write "
        "`aging=1_000` for a second of waiting per step of priority, `aging=None` for priority alone"
    )


@pytest.mark.parametrize("aging", [1_000, 1e3, timedelta(seconds=1)])
def test_an_aging_is_milliseconds_or_a_timedelta(aging: Any) -> None:
    assert Balancer(aging=aging)._admission.queue._aging == 1.0


# --- how a request is to be treated ---------------------------------------------------------------------------------


async def _all(balancer: Balancer, **terms: Any) -> list[Any]:
    return [outcome async for outcome in balancer.amap(Task(same), [1], **terms)]


@on_each
@pytest.mark.parametrize(
    ("priority", "shown"),
    [("high", "'high'"), (float("nan"), "nan"), (float("inf"), "inf"), (True, "True"), (None, "None"), (1j, "1j")],
)
def test_a_priority_is_a_finite_number_in_every_call(executor: str, priority: Any, shown: str) -> None:
    with Balancer(executor) as balancer:
        for call in (
            lambda: balancer.run(Task(same)(1), priority=priority),
            lambda: balancer.post(Task(same)(1), priority=priority),
            lambda: balancer.map(Task(same), [1], priority=priority),
            lambda: asyncio.run(balancer.arun(Task(same)(1), priority=priority)),
            lambda: asyncio.run(_all(balancer, priority=priority)),
        ):
            with pytest.raises(ChainDefinitionError) as caught:
                call()
            assert str(caught.value) == f"`priority` must be a finite number; got {shown}"
        assert balancer.stats().done == 0


@on_each
def test_priorities_beyond_all_measure_are_taken_with_and_without_aging(executor: str) -> None:
    for aging in (None, 1e12):
        with Balancer(executor, aging=aging) as balancer:
            for priority in (1e308, -1e308, 10**400 // 10**100, 0):
                assert balancer.run(Task(same)(1), priority=priority).unwrap() == 1


@on_each
def test_run_waits_or_rejects_when_the_buffer_is_full(executor: str) -> None:
    begun, go = threading.Event(), threading.Event()

    def stay(x: Any) -> Any:
        begun.set()
        assert go.wait(20)
        return x

    with Balancer(executor, workers=1, buffer=0) as balancer:
        assert balancer.run(Task(same)(1), on_full="reject").unwrap() == 1
        with pytest.raises(ChainDefinitionError, match=r"`on_full` must be 'wait' or 'reject'; got 'drop'$"):
            balancer.run(Task(same)(1), on_full="drop")  # type: ignore[arg-type]
        running = balancer.post(Task(stay)(2))
        try:
            assert begun.wait(20)
            with pytest.raises(
                QueueFull, match=r"^0 requests are waiting already \(buffer=0\); this one was not accepted$"
            ):
                balancer.run(Task(same)(1), on_full="reject")
            assert balancer.run(Task(same)(1), queue_timeout=1).only.status == "skipped", "it waited"
        finally:
            go.set()
        assert running.wait(20_000).unwrap() == 2


# --- closing from where it can't be closed ----------------------------------------------------------------------------


@on_each
@pytest.mark.parametrize("how", ["on a worker", "inline", "in a run of its own"])
def test_a_body_can_not_close_the_balancer_that_runs_it(executor: str, how: str) -> None:
    def closes(_: Any) -> str:
        with pytest.raises(UsageError) as caught:
            balancer.close()
        return str(caught.value)

    def runs(_: Any) -> str:
        return Task(closes)(1).run(executor="thread").unwrap()

    with Balancer(executor, workers=2) as balancer:
        tasks = {"on a worker": Task(closes), "inline": Task(closes).inline(), "in a run of its own": Task(runs)}
        said = balancer.run(tasks[how](1)).unwrap()
        assert said == "`close` in a function that this balancer runs would wait for itself; call it outside"
        assert balancer.run(Task(same)(1)).unwrap() == 1, "it is open"


@on_each
def test_nor_can_an_async_one(executor: str) -> None:
    async def closes(_: Any) -> str:
        with pytest.raises(UsageError) as caught:
            await balancer.aclose()
        return str(caught.value)

    with Balancer(executor) as balancer:
        said = balancer.run(Task(closes)(1)).unwrap()
        assert said == "`aclose` in a function that this balancer runs would wait for itself; call it outside"


@on_each
@pytest.mark.parametrize("kind", ["request_started", "attempt_started", "attempt_ended", "request_ended"])
def test_nor_can_an_observer_of_what_runs_there(executor: str, kind: str) -> None:
    said: list[str] = []

    def closes(event: Event) -> None:
        if event.kind == kind:
            with pytest.raises(UsageError, match="`close`") as caught:
                balancer.close(grace=2_000)
            said.append(str(caught.value))

    with Balancer(executor, workers=1, observers=[closes]) as balancer:
        assert balancer.run(Task(same)(1)).unwrap() == 1
        assert balancer.run(Task(same)(2)).unwrap() == 2, "it is open"
    assert len(said) == 2
    assert executor != "thread" or "call it outside" in said[0]


@on_each
def test_an_observer_may_close_another_balancer(executor: str) -> None:
    other = Balancer("thread")
    other.run(Task(same)(1))
    with Balancer(executor, observers=[lambda event: other.close() if event.kind == "request_ended" else None]) as one:
        assert one.run(Task(same)(1)).unwrap() == 1
    with pytest.raises(BalancerClosed):
        other.post(Task(same)(1))


@on_each
def test_a_body_may_close_another_balancer(executor: str) -> None:
    def closes(other: Balancer) -> None:
        other.close()

    other = Balancer(executor)
    assert other.run(Task(same)(1)).unwrap() == 1
    with Balancer(executor) as balancer:
        assert balancer.run(Task(closes)(other)).unwrap() is None
    assert " closed: " in repr(other)


# --- fair and shed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"fair": 3}, "`fair` must be True, or a dict from a tenant to its weight, as in fair={'gold': 3}; got 3"),
        ({"fair": {"gold": 0}}, "`fair['gold']` must be a finite number, more than 0; got 0"),
        ({"fair": {"gold": -1}}, "`fair['gold']` must be a finite number, more than 0; got -1"),
        ({"fair": {"gold": float("nan")}}, "`fair['gold']` must be a finite number, more than 0; got nan"),
        ({"fair": True, "aging": 5}, "`fair` and `aging` contradict each other"),
        ({"shed": "newest"}, "`shed` must be 'lowest', 'oldest', or a function of the Request"),
        ({"shed": 3}, "`shed` must be 'lowest', 'oldest', or a function of the Request"),
        ({"shed_late": 1}, "`shed_late` must be True or False; got 1"),
    ],
)
def test_what_fair_and_shed_can_not_be(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ChainDefinitionError) as caught:
        Balancer(**options)
    assert text in str(caught.value)
