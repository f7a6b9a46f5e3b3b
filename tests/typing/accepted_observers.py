"""Observers: both checkers infer them, and nothing here runs."""

from typing import assert_type

from rio_chain import Balancer, Event, add_observer
from rio_chain.observers import Observe, Observer, Remover, log_failures


def observe(event: Event) -> None:
    assert_type(event.run, int)
    assert_type(event.chain, str)
    assert_type(event.elapsed, float | None)
    assert_type(event.reason, str | None)
    assert_type(event.policy, str | None)
    if event.kind == "attempt_ended":
        assert_type(event.task, str | None)


def keeps(event: object) -> int:
    return id(event)


assert_type(add_observer(observe), Remover)
assert_type(add_observer(keeps, errors=True, values=True), Remover)
with add_observer(observe) as remove:
    assert_type(remove, Remover)
    remove()
assert_type(log_failures(), Observe)
events: list[Event] = []
Balancer(observers=[observe, keeps, events.append, Observer(observe, errors=True), log_failures()])
