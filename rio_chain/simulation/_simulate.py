"""simulate: runs a chain with its load in virtual time, with the real interpreter and balancer."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from rio_chain._core.units import Duration, milliseconds, short_repr
from rio_chain.chain._compose import Composed
from rio_chain.chain._request import Request
from rio_chain.errors import ChainDefinitionError
from rio_chain.simulation._arrivals import Arrivals
from rio_chain.simulation._distribution import Distribution
from rio_chain.simulation._estimate import INF, Estimate
from rio_chain.simulation._extra import require_statistics
from rio_chain.simulation._offered_load import offered_load
from rio_chain.simulation._play_arrivals import Play
from rio_chain.simulation._settings import Setting, setting
from rio_chain.simulation._simulation_result import BackendLoad, Simulation
from rio_chain.simulation._stage import Backend

if TYPE_CHECKING:
    from rio_chain.dsl._chain import Chain


def played(chain: Composed, given: Setting, load: Estimate | None = None) -> Simulation:
    """Run a simulation whose settings were checked. ``load``: the result of ``offered_load``, if it was measured."""
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
        offered_load=load,
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
    fair: bool | Mapping[Hashable, float] = False,
    tenant: Callable[[Any], Hashable] | None = None,
    shed: Literal["lowest", "oldest"] | Callable[[Request[Any]], float] | None = None,
    shed_late: bool = False,
    abandon_after: Duration = 30_000,
    inputs: Iterable[Any] | None = None,
    warmup: int = 0,
    seed: int = 0,
) -> Simulation:
    """Simulate a chain in virtual time with simulated backends, to see how long it will take.

    The real interpreter and the real balancer run, so all policies act as in production. Bridges, predicates and
    fallbacks are called as they are. Breakers, limits, caches and other policies with a state are new ones, and those
    of the chain itself are not touched. No real time passes, and no backend is called.

    Args:
        chain: what to simulate.
        backends: for every task by name how it behaves: a ``LatencyModel``, a ``Script``, or a function to call
            instead. A model answers with what ``returning`` sets. A script begins with its first step. A task that is
            ``.inline()`` calls no backend: it runs as it is unless you name it here.
        requests: how many. Default 10,000, or all of a trace.
        arrivals: ``poisson(per_second)``, ``regular(per_second)`` or ``trace([ms])``. Default: one request after the
            other, so that none waits.
        workers: how many run at once, as for ``Balancer``. Default 10.
        buffer: how many may wait; one more is refused with ``QueueFull``. Default: no limit, as for ``arun``.
        queue_timeout: the longest that a request may wait for a worker, in milliseconds or as a ``timedelta``.
        deadline: the longest that waiting and running may take together.
        priority: a number, or a function of the input that returns one. Higher goes first. Default 0.
        aging: as for ``Balancer``.
        fair: as for ``Balancer``.
        shed: as for ``Balancer``.
        shed_late: as for ``Balancer``.
        tenant: a function of the input that returns the tenant of the request. Default: all are of one.
        abandon_after: as for ``Balancer``. Default 30,000.
        inputs: values to call the chain with; they are repeated if there are too few. Default: 0, 1, 2, ...
        warmup: this many requests come first and do not count, so that the queue reaches its usual length. Default 0.
        seed: a whole number. The same seed gives the same simulation, byte by byte. Default 0.

    Raises:
        ChainDefinitionError: an argument is out of its range; a task has no backend; a backend has no task.
        Unstable: more requests arrive than the workers can serve, and nothing ends their waiting. A pilot of 1,000 to
            32,000 requests measures that before the simulation. If it can't decide, the simulation runs and
            ``undecided`` is true.
        ImportError: the extra ``rio-chain[simulate]`` (numpy and scipy) is not installed.

    Example:
        >>> from rio_chain import Task, simulate
        >>> from rio_chain.simulation import LatencyModel
        >>> async def fetch(user_id: int) -> str: ...
        >>> hedged = Task(fetch).replica(2, after=60)
        >>> simulation = simulate(hedged, {"fetch": LatencyModel.lognormal(20, p99=100)}, requests=1000)
        >>> simulation.latency.p99 < 100, 0 < simulation.extra_load < 0.05
        (True, True)
    """
    require_statistics("simulate")
    given = setting(
        backends, requests=requests, arrivals=arrivals, workers=workers, buffer=buffer, queue_timeout=queue_timeout,
        deadline=deadline, priority=priority, aging=aging, fair=fair, tenant=tenant, shed=shed, shed_late=shed_late,
        abandon_after=abandon_after, inputs=inputs, warmup=warmup, seed=seed,
    )  # fmt: skip
    checked_chain(chain)
    return played(chain, given, offered_load(chain, given))


def checked_chain(chain: object) -> Composed:
    """Check for a chain that is not called yet."""
    if isinstance(chain, Composed):
        return chain
    raise ChainDefinitionError(f"`chain` must be a Task or a Chain{_hint(chain)}; got {short_repr(chain)}")


def _hint(given: object) -> str:
    if isinstance(given, Request):
        return "; leave the arguments out: page, not page(42)"
    return "; write Task(fn)" if callable(given) else ""
