"""``simulate`` against the example shop under load: ``python -m benchmarks.shop_simulated [--rates ...] [--rounds N]``.

The shop of ``examples/shop`` runs behind uvicorn, over its three backends and its database, all in processes. A client
in another process asks for pages over HTTP at random instants, whatever becomes of those before (an open load). One
half of the Outcomes teaches models of the backends, and nothing else. The chain is simulated over these models under
the same load, and compared with the other half, which the models have not seen.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import aiohttp
import uvicorn

from examples.shop.asyncio_client import AsyncioClient
from examples.shop.limits import BUFFER, DEADLINE, QUEUE_TIMEOUT
from examples.shop.start_backends import Places, backends, process
from examples.shop.web import Shop, application
from rio_chain import Balancer, Outcome, simulate
from rio_chain.simulation import LatencyModel, Simulation, poisson

WORKERS = 4
"""Fewer than those of the shop, so that a moderate rate already makes a queue."""
FAULTS = {"latency": 20.0, "errors": 0.03, "stalls": 0.01}
RATES = (15, 30, 45)
REQUESTS = 3_000
WARM_UP = 100
SIMULATED = 20_000
CLOSE = 0.10
ANSWERS = {
    "fetch_product": {"id": 1, "name": "tea", "maker": "maker 1"},
    "fetch_price": {"cents": 199},
    "fetch_stock": {"count": 3},
    "read_reviews": [],
}
PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@contextmanager
def first_on_the_machine(*, wanted: bool) -> Iterator[None]:
    """This process, and those that it starts, run before all others. What they need is a small part of a processor."""
    if wanted:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@contextmanager
def served(shop: Shop) -> Iterator[str]:
    """The address of the shop, which runs in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
        server = uvicorn.Server(uvicorn.Config(application(shop), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def measured(places: Places, rate: float, requests: int, seed: int) -> list[Outcome[Any]]:
    """The Outcomes of the pages that a client asked for."""
    shop = Shop(AsyncioClient(places), Balancer(workers=WORKERS, buffer=BUFFER), QUEUE_TIMEOUT)
    shop.runs = deque()
    with served(shop) as url:
        command = ("benchmarks.shop_simulated", "--ask", url, str(rate), str(requests + WARM_UP), str(seed))
        with process(*command) as client:
            assert client.stdout is not None
            if client.stdout.read().strip() != "done":
                raise RuntimeError("the client has failed")
    return list(shop.runs)[WARM_UP:]


async def ask(url: str, rate: float, requests: int, seed: int) -> None:
    """The client: a page at each instant of a Poisson process."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    loop = asyncio.get_running_loop()

    async def one(session: aiohttp.ClientSession) -> None:
        async with session.get(f"{url}/products/{draw.randrange(900)}") as answer:
            await answer.read()

    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        asyncio.TaskGroup() as group,
    ):
        at = loop.time()
        for _ in range(requests):
            at += draw.expovariate(rate)
            await asyncio.sleep(at - loop.time())
            group.create_task(one(session))


def simulated(places: Places, taught: Sequence[Outcome[Any]], rate: float) -> Simulation:
    """The same chain under the same load, over models of what was measured."""
    models = LatencyModel.from_outcomes(taught)
    return simulate(
        AsyncioClient(places).chains.page,
        {name: model.returning(ANSWERS[name]) for name, model in models.items()},
        arrivals=poisson(rate),
        requests=SIMULATED,
        workers=WORKERS,
        buffer=BUFFER,
        queue_timeout=QUEUE_TIMEOUT,
        deadline=DEADLINE,
    )


class Row(NamedTuple):
    """A percentile, measured and simulated."""

    name: str
    there: float
    here: Any

    @property
    def off(self) -> float:
        return float(self.here) / self.there - 1


def compared(fresh: Sequence[Outcome[Any]], simulation: Simulation) -> list[Row]:
    took = sorted(outcome.queued + outcome.elapsed for outcome in fresh)
    return [
        Row(name, took[max(0, -int(-q * len(took) // 1) - 1)], simulation.latency.quantile(q))
        for name, q in PERCENTILES.items()
    ]


def round_of(places: Places, rate: float, requests: int, seed: int, *, real_time: bool) -> list[Row]:
    """Measure, learn, simulate, print."""
    began = time.monotonic()
    with first_on_the_machine(wanted=real_time):
        outcomes = measured(places, rate, requests, seed)
    lasted = time.monotonic() - began
    simulation = simulated(places, outcomes[0::2], rate)
    fresh = outcomes[1::2]
    rows = compared(fresh, simulation)
    waits = sorted(outcome.queued for outcome in fresh)
    failed = sum(not outcome.ok for outcome in fresh) / len(fresh)
    print(
        f"\n{len(outcomes)} pages at {rate:g} a second, {lasted:.0f} s; load average {os.getloadavg()[0]:.1f}; "
        f"wait p90 {waits[int(0.9 * len(waits))]:.1f} ms, simulated {simulation.wait.p90:.1f}; "
        f"failed {failed:.2%}, simulated {1 - simulation.succeeded:.2%}"
    )
    for row in rows:
        print(f"  {row.name:4} measured {row.there:7.1f}  simulated {row.here!r:26}  {row.off:+6.1%}", flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="pages a second")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--real-time", action="store_true", help="let nothing else on a busy machine disturb it; Linux, as root"
    )
    given = parser.parse_args()
    print(f"{WORKERS} workers; backends: {FAULTS}")
    bad = 0
    with ExitStack() as stack:
        with first_on_the_machine(wanted=given.real_time):
            places = stack.enter_context(backends(seed=1))
        places.set_faults(**FAULTS)
        for seed in range(given.rounds):
            for rate in given.rates:
                rows = round_of(places, rate, given.requests, seed, real_time=given.real_time)
                bad += sum(abs(row.off) > CLOSE for row in rows if row.name in {"p50", "p99"})
    print(f"\n{bad} of {2 * given.rounds * len(given.rates)} figures are more than {CLOSE:.0%} off (p50 and p99)")
    return 1 if bad else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ask"]:
        asyncio.run(ask(sys.argv[2], float(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])))
        print("done", flush=True)
    else:
        sys.exit(main())
