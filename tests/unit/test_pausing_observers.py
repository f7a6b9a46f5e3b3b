"""Observers that pause while nothing listens: they are asked before each run."""

from __future__ import annotations

import pytest

from rio_chain import Balancer, Event, Task, add_observer
from rio_chain.results._observers import PausingObserver


class Switched(PausingObserver):
    def __init__(self) -> None:
        self.on = False
        self.runs: list[int] = []

    def idle(self) -> bool:
        return not self.on

    def __call__(self, event: Event) -> None:
        if event.kind == "request_started":
            self.runs.append(event.run)


@pytest.mark.parametrize("executor", ["asyncio", "trio", "thread"])
def test_it_is_asked_before_each_run(executor: str) -> None:
    switched, seen = Switched(), list[str]()
    with Balancer(executor, observers=[switched, lambda event: seen.append(event.kind)]) as balancer:
        for on in (False, True, False):
            switched.on = on
            balancer.run(Task(abs)(1)).unwrap()
    assert len(switched.runs) == 1
    assert seen.count("request_started") == 3  # others are not asked, and go on


def test_one_that_goes_idle_hears_the_end_of_a_run_that_it_observes() -> None:
    kinds: list[str] = []

    class Noted(Switched):
        def __call__(self, event: Event) -> None:
            kinds.append(event.kind)

    switched = Noted()
    switched.on = True

    def body(_: int) -> None:
        switched.on = False

    with add_observer(switched):
        Task(body)(1).run().unwrap()
        Task(abs)(1).run().unwrap()
    assert (kinds[0], kinds[-1], kinds.count("request_ended")) == ("request_started", "request_ended", 1)
