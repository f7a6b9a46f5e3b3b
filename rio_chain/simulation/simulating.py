"""simulate: a chain, its backends and its load, played in virtual time by the real interpreter and balancer."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import cycle, islice
from typing import Any, cast

from attrs import evolve, frozen
from returns.result import Failure

from rio_chain.balancer import Balancer, Ticket
from rio_chain.compose import Composed, entry
from rio_chain.dsl import Chain
from rio_chain.errors import (
    ChainDefinitionError,
    QueueFull,
    Unstable,
)
from rio_chain.executors.virtual import VirtualExecutor, VirtualHost
from rio_chain.outcome import Outcome
from rio_chain.request import Request
from rio_chain.simulation.arrivals import Arrivals, checked, rate_of
from rio_chain.simulation.distribution import Distribution
from rio_chain.simulation.draws import Draws
from rio_chain.simulation.intervals import INF
from rio_chain.simulation.result import BackendLoad, Simulation
from rio_chain.simulation.stage import VISIT, Backend, Stage, Visit
from rio_chain.units import Duration, count, inert, milliseconds, number, seconds, shown

REQUESTS = 10_000
PILOT = 500
"""Requests that are played one after the other, to see how long one takes."""
FAR = 1 << 40
"""The number of the first of those, so that no other request has their luck."""


@frozen
class Setting:
    """All that is simulated but the chain. Checked; times in seconds."""

    backends: Mapping[str, Backend]
    requests: int
    arrivals: Arrivals | None
    workers: int
    buffer: int | None
    queue_timeout: float | None
    deadline: float | None
    priority: float | Callable[[Any], float]
    aging: float | None
    abandon_after: float
    inputs: tuple[Any, ...] | None
    warmup: int
    seed: int
    first: int = 0  # the number of the first request


def setting(
    backends: Mapping[str, Backend],
    *,
    requests: int | None = None,
    arrivals: Arrivals | None = None,
    workers: int = 10,
    buffer: int | None = None,
    queue_timeout: Duration | None = None,
    deadline: Duration | None = None,
    priority: float | Callable[[Any], float] = 0,
    aging: Duration | None = None,
    abandon_after: Duration = 30_000,
    inputs: Iterable[Any] | None = None,
    warmup: int = 0,
    seed: int = 0,
) -> Setting:
    """What a user gave, checked."""
    came = checked(arrivals)
    warmup = count(warmup, "warmup")
    wanted = _requests(requests, came, warmup)
    values = None if inputs is None else tuple(islice(_many(inputs), wanted + warmup))
    if values == ():
        raise ChainDefinitionError("`inputs` needs at least one value; got none")
    if not callable(priority):
        number(priority, "priority")
    if isinstance(seed, bool) or not isinstance(cast("object", seed), int):
        raise ChainDefinitionError(f"`seed` must be a whole number; got {shown(seed)}")
    return Setting(
        backends,
        wanted,
        came,
        count(workers, "workers", least=1),
        None if buffer is None else count(buffer, "buffer"),
        None if queue_timeout is None else seconds(queue_timeout, "queue_timeout", zero=True),
        None if deadline is None else seconds(deadline, "deadline"),
        priority,
        None if aging is None else seconds(aging, "aging"),
        seconds(abandon_after, "abandon_after"),
        values,
        warmup,
        seed,
    )


def _requests(requests: int | None, arrivals: Arrivals | None, warmup: int) -> int:
    limit = None if arrivals is None else arrivals.limit
    if requests is None:
        return REQUESTS if limit is None else max(1, limit - warmup)
    wanted = count(requests, "requests", least=1)
    if limit is not None and wanted + warmup > limit:
        raise ChainDefinitionError(
            f"`requests` must be at most {limit - warmup}: there are no more in {arrivals!r}; got {wanted}"
        )
    return wanted


def _many(inputs: Iterable[Any]) -> Iterable[Any]:
    given: Any = inputs
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise ChainDefinitionError(
            f"`inputs` must be a list of values, each of which the chain is called with; got {shown(inputs)}"
        )
    return inputs


class Played(VirtualExecutor):
    """Async functions run in the strand that calls them: one of their own would cost half as much time again."""

    def launch(self, threads: int, max_abandoned: int, name: str = VirtualExecutor.name) -> VirtualHost:
        """As ``VirtualExecutor.launch``."""
        host = super().launch(threads, max_abandoned, name)
        host.runtime.direct = True
        return host


class Ledger:
    """What is noted of each request, by its number. The Outcomes themselves are let go."""

    def __init__(self, requests: int) -> None:
        self.latency = array("d", [INF]) * requests
        self.wait = array("d", [-1.0]) * requests  # -1: it was refused at the door
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
        """It was not accepted."""
        self._fail(number, error)

    def answered(self, number: int, outcome: Outcome[Any], calls: int) -> None:
        """It was answered, whatever the answer, after so many calls."""
        self.calls[number] = calls
        self.wait[number] = outcome.queued
        self.latency[number] = outcome.queued + outcome.elapsed
        self.busy += outcome.elapsed
        if isinstance(outcome.result, Failure):
            self._fail(number, outcome.result.failure())

    def _fail(self, number: int, error: Any) -> None:
        self.failed[number] = 1
        self.failures[inert(type(error).__name__)] += 1


class Play:
    """One simulation under way."""

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
            abandon_after=given.abandon_after * 1000,
            aging=None if given.aging is None else given.aging * 1000,
        )
        self._others = Draws(given.seed ^ 0x5EED)
        self._bare = _takes_nothing(self.stage.chain)
        self._terms: dict[str, Any] = {}
        if given.deadline is not None:
            self._terms["deadline"] = given.deadline * 1000
        if given.queue_timeout is not None:
            self._terms["queue_timeout"] = given.queue_timeout * 1000

    def _jitter(self) -> float:
        """A draw for a backoff; also one that belongs to its request."""
        visit = VISIT.get()
        if visit is None:
            return self._others.random()
        visit.jitters += 1
        return self._others.at(visit.number, visit.jitters).random()

    def run(self) -> Ledger:
        """Play it to the end."""
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
        """One more request comes."""
        given, ledger = self.given, self.ledger
        counted = number - given.warmup
        priority = given.priority(value) if callable(given.priority) else given.priority
        visit = Visit(given.first + number, len(self.stage.loads), counted=counted >= 0)
        request: Request[Any] = Request(self.stage.chain.plan()) if self._bare else self.stage.request(value)
        if counted >= 0:
            ledger.began = min(ledger.began, self.executor.loop.now())
            ledger.priorities.setdefault(priority, []).append(counted)
        token = VISIT.set(visit)
        try:
            ticket = self.balancer.post(request, priority=priority, **self._terms)
        except QueueFull as error:
            if counted >= 0:
                ledger.refused(counted, error)
            return
        finally:
            VISIT.reset(token)
        ledger.open += 1
        ticket.on_done(lambda: self._note(counted, ticket, visit))

    def _note(self, counted: int, ticket: Ticket[Any], visit: Visit) -> None:
        self.ledger.open -= 1
        try:
            outcome = ticket.wait()
        except BaseException as error:  # noqa: BLE001 - a script that has ended, for one; it is raised where it is waited for
            self.ledger.broken = error
            return
        if counted >= 0:
            self.ledger.answered(counted, outcome, sum(visit.calls))
            self.ledger.ended = max(self.ledger.ended, self.executor.loop.now())
            for load, response in zip(self.stage.loads, outcome, strict=True):
                load.blame(response.errors)


def check_load(chain: Composed, given: Setting) -> None:
    """Refuse a steady stream of more requests than the workers can serve, where nothing ends their waiting.

    Raises:
        Unstable: the text has the figures, and what to change.
    """
    rate = rate_of(given.arrivals)
    if not rate or given.buffer is not None or given.queue_timeout is not None or given.deadline is not None:
        return
    alone = evolve(given, requests=PILOT, arrivals=None, warmup=0, first=FAR, workers=1)
    service = Play(chain, alone).run().busy / PILOT
    if rate * service >= given.workers * 1000:
        raise Unstable(rate, service, given.workers)


def _never() -> bool:
    return False


def _takes_nothing(chain: Composed) -> bool:
    first = entry(chain)
    return first.most == 0


def played(chain: Composed, given: Setting) -> Simulation:
    """The result of a simulation that was checked."""
    play = Play(chain, given)
    ledger = play.run()
    lasted = ledger.ended - ledger.began if ledger.ended else 0.0
    accepted = [i for i in range(given.requests) if ledger.wait[i] >= 0]
    ended = ledger.latency[:]
    for i in range(given.requests):
        if ledger.failed[i]:
            ended[i] = INF
    classes = ledger.priorities if len(ledger.priorities) > 1 else {}
    return Simulation(
        chain=chain.plan().title,
        latency=Distribution(ledger.latency[i] for i in accepted),
        wait=Distribution(ledger.wait[i] for i in accepted),
        waits={
            level: Distribution(ledger.wait[i] for i in classes[level] if ledger.wait[i] >= 0)
            for level in sorted(classes)
        },
        backends={
            load.name: BackendLoad(
                load.name, load.calls, load.extra, load.failed, load.timed_out, load.busy / lasted if lasted else 0.0
            )
            for load in play.stage.loads
        },
        requests=given.requests,
        failures=dict(sorted(ledger.failures.items(), key=lambda item: (-item[1], item[0]))),
        workers=given.workers,
        arrivals=None if given.arrivals is None else repr(given.arrivals),
        lasted=milliseconds(lasted),
        busy=ledger.busy,
        seed=given.seed,
        ended=ended,
        calls=ledger.calls,
        took={load.name: load.took for load in play.stage.loads},
    )


def simulate(
    chain: Chain[..., Any],
    backends: Mapping[str, Backend],
    *,
    requests: int | None = None,
    arrivals: Arrivals | None = None,
    workers: int = 10,
    buffer: int | None = None,
    queue_timeout: Duration | None = None,
    deadline: Duration | None = None,
    priority: float | Callable[[Any], float] = 0,
    aging: Duration | None = None,
    abandon_after: Duration = 30_000,
    inputs: Iterable[Any] | None = None,
    warmup: int = 0,
    seed: int = 0,
) -> Simulation:
    """Ask how long a chain will take: play it in virtual time, over backends that are drawn instead of called.

    The real interpreter and the real balancer run, so all policies do what they do in production; bridges, predicates
    and fallbacks are called as they are. Breakers, limits, caches and the like begin without a memory, and those of the
    chain itself are not touched. No time passes, and nothing is called.

    Args:
        chain: what to simulate.
        backends: for every task by name how it behaves: a ``LatencyModel``, a ``Script``, or a function that is called
            in its place. A model answers with what ``returning`` says.
        requests: how many. Default 10,000, or all of a trace.
        arrivals: ``poisson(per_second)``, ``regular(per_second)`` or ``trace([ms])``. Default: one after the other, so
            that none waits: how long does one take?
        workers: how many run at once, as of the ``Balancer``. Default 10.
        buffer: how many may wait; one more is refused with ``QueueFull``. Default: no bound, as for ``arun``.
        queue_timeout: the most that one may wait for a worker, in milliseconds or as a ``timedelta``.
        deadline: the most that waiting and running may take together.
        priority: a number, or a function of the input that gives one. Higher goes first.
        aging: as of the ``Balancer``.
        abandon_after: as of the ``Balancer``. Default 30,000.
        inputs: values with which the chain is called, over again if there are too few. Default: 0, 1, 2, ...
        warmup: so many requests come first and do not count, so that the line is as long as it gets.
        seed: a whole number. The same seed gives the same simulation, byte by byte.

    Raises:
        ChainDefinitionError: an argument out of its range; a task without a backend; a backend that is no task.
        Unstable: more requests come than the workers can serve, and nothing ends their waiting. Told before it begins.

    Example:
        >>> from rio_chain import Task, simulate
        >>> from rio_chain.simulation import LatencyModel
        >>> async def fetch(user_id: int) -> str: ...
        >>> hedged = Task(fetch).replica(2, after=60)
        >>> simulation = simulate(hedged, {"fetch": LatencyModel.lognormal(20, p99=100)}, requests=1000)
        >>> simulation.latency.p99 < 100, 0 < simulation.extra_load < 0.05
        (True, True)
    """
    given = setting(
        backends,
        requests=requests,
        arrivals=arrivals,
        workers=workers,
        buffer=buffer,
        queue_timeout=queue_timeout,
        deadline=deadline,
        priority=priority,
        aging=aging,
        abandon_after=abandon_after,
        inputs=inputs,
        warmup=warmup,
        seed=seed,
    )
    checked_chain(chain)
    check_load(chain, given)
    return played(chain, given)


def checked_chain(chain: object) -> Composed:
    """A chain, and no request of one."""
    if isinstance(chain, Composed):
        return chain
    given: Any = chain
    hint = "; write Task(fn)" if callable(given) else ""
    if isinstance(given, Request):
        hint = "; leave the arguments out: page, not page(42)"
    raise ChainDefinitionError(f"`chain` must be a Task or a Chain{hint}; got {shown(given)}")
