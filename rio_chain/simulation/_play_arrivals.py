"""A running simulation: requests arrive at their instants, run in virtual time, and are recorded."""

from __future__ import annotations

from array import array
from collections import Counter
from itertools import cycle
from typing import Any

from returns.result import Failure

from rio_chain._core.units import escape_nonprintable, milliseconds
from rio_chain.balancer import Balancer, Ticket
from rio_chain.chain._compose import Composed, entry
from rio_chain.chain._request import Request
from rio_chain.errors import QueueFull
from rio_chain.executors._blocking_wait import once
from rio_chain.executors.virtual._executor import VirtualExecutor, VirtualHost
from rio_chain.results._deliver import unobserved
from rio_chain.results._outcome import Outcome
from rio_chain.simulation._estimate import INF
from rio_chain.simulation._random_draws import Draws
from rio_chain.simulation._settings import Setting
from rio_chain.simulation._stage import VISIT, Stage, Visit


class Played(VirtualExecutor):
    """Runs async functions in the strand that calls them. A strand for each would take half as much time again."""

    def launch(self, threads: int, max_abandoned: int, name: str = VirtualExecutor.name) -> VirtualHost:
        """As ``VirtualExecutor.launch``."""
        host = super().launch(threads, max_abandoned, name)
        host.runtime.direct = True
        return host


class Ledger:
    """The record of each request, by its number. The Outcomes are not kept."""

    def __init__(self, requests: int) -> None:
        self.latency = array("d", [INF]) * requests
        self.wait = array("d", [-1.0]) * requests  # -1: it was refused
        self.failed = bytearray(requests)
        self.calls = array("l", [0]) * requests
        self.priorities: dict[float, list[int]] = {}
        self.failures: Counter[str] = Counter()
        self.busy = 0.0
        self.began = INF
        self.ended = 0.0
        self.open = 0
        self.broken: BaseException | None = None

    def refused(self, number: int, error: Exception) -> None:
        """The request was not accepted."""
        self.fail(number, error)

    def answered(self, number: int, outcome: Outcome[Any], calls: int) -> None:
        """The request was answered, with any result, after this many calls."""
        self.calls[number] = calls
        self.wait[number] = outcome.queued
        self.latency[number] = outcome.queued + outcome.elapsed
        self.busy += outcome.elapsed

    def fail(self, number: int, error: Any) -> None:
        """The request has failed."""
        self.failed[number] = 1
        self.failures[escape_nonprintable(type(error).__name__)] += 1


class Play:
    """A running simulation."""

    def __init__(self, chain: Composed, given: Setting) -> None:
        self.given = given
        self.draws = Draws(given.seed)
        self.stage = Stage.of(chain, given.backends, self.draws)
        self.ledger = Ledger(given.requests)
        self.executor = Played(seed=given.seed)
        self.executor.loop.draw = self._jitter
        self.balancer = Balancer(
            self.executor,
            workers=given.workers,
            buffer=given.requests + given.warmup if given.buffer is None else given.buffer,
            abandon_after=milliseconds(given.abandon_after),
            aging=None if given.aging is None else milliseconds(given.aging),
            fair=given.fair,
            shed=given.shed,
            shed_late=given.shed_late,
        )
        self._others = Draws(given.seed ^ 0x5EED)
        self._bare = _takes_nothing(self.stage.chain)
        self._terms: dict[str, Any] = {}
        if given.deadline is not None:
            self._terms["deadline"] = milliseconds(given.deadline)
        if given.queue_timeout is not None:
            self._terms["queue_timeout"] = milliseconds(given.queue_timeout)

    def _jitter(self) -> float:
        """The random number for a backoff. It depends on the request, too."""
        visit = VISIT.get()
        if visit is None:
            return self._others.random()
        visit.jitters += 1
        return self._others.at(visit.number, visit.jitters).random()

    def run(self) -> Ledger:
        """Run the simulation to its end."""
        given, loop, ledger = self.given, self.executor.loop, self.ledger
        total = given.warmup + given.requests
        values = cycle(given.inputs) if given.inputs is not None else iter(range(given.first, given.first + total))
        instants = None if given.arrivals is None else given.arrivals.instants(total, given.seed)
        for index, value in zip(range(total), values, strict=False):
            if instants is None:
                loop.drive(lambda: not ledger.open)
            else:
                loop.drive(_never, next(instants))
            self._come(index, value)
            if ledger.broken is not None:
                break
        loop.drive(lambda: not ledger.open)
        self.balancer.close()
        if ledger.broken is not None:
            raise ledger.broken
        return ledger

    def _come(self, number: int, value: Any) -> None:
        """A request arrives."""
        given, ledger = self.given, self.ledger
        counted = number - given.warmup
        priority = given.priority(value) if callable(given.priority) else given.priority
        visit = Visit(given.first + number, len(self.stage.tasks), counted=counted >= 0)
        request: Request[Any] = Request(self.stage.chain.plan()) if self._bare else self.stage.request(value)
        if counted >= 0:
            ledger.began = min(ledger.began, self.executor.loop.now())
            ledger.priorities.setdefault(priority, []).append(counted)
        token = VISIT.set(visit)
        try:
            with unobserved():
                tenant = None if given.tenant is None else given.tenant(value)
                ticket = self.balancer.post(request, priority=priority, tenant=tenant, **self._terms)
        except QueueFull as error:
            if counted >= 0:
                ledger.refused(counted, error)
            return
        finally:
            VISIT.reset(token)
        ledger.open += 1
        ticket.add_waker(once(lambda: self._note(counted, ticket, visit)))

    def _note(self, counted: int, ticket: Ticket[Any], visit: Visit) -> None:
        self.ledger.open -= 1
        try:
            outcome = ticket.wait()
        except BaseException as error:  # noqa: BLE001 - such as ScriptEnded; `run` raises it
            self.ledger.broken = error
            return
        cause = outcome.result.failure() if isinstance(outcome.result, Failure) else None
        self.ledger.broken = self.ledger.broken or self.stage.misuse(cause, outcome, numbers=self.given.inputs is None)
        if counted < 0:
            return
        self.ledger.answered(counted, outcome, sum(visit.calls))
        self.ledger.ended = max(self.ledger.ended, self.executor.loop.now())
        if isinstance(outcome.result, Failure):
            self.ledger.fail(counted, cause)
        for load in self.stage.loads:
            load.blame(outcome[load.index].errors)


def _never() -> bool:
    return False


def _takes_nothing(chain: Composed) -> bool:
    first = entry(chain)
    return first.most == 0
