"""What is simulated, against what is measured: the demo's chain, real servers. ``python -m benchmarks.simulated``.

Half of the requests teach models of the three backends, and nothing else. The chain is simulated over these under the
same load, and compared with the other half, which the models have not seen.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from rio_chain import Balancer, Outcome, simulate
from rio_chain.demo.chain import page
from rio_chain.demo.client import Api, Orders, Shop, User, Visit
from rio_chain.demo.servers import Servers
from rio_chain.simulation import LatencyModel, regular

REQUESTS = 2400
WARM_UP = 40
PER_SECOND = 10
WORKERS = 10
NODES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


async def measured(servers: Servers, many: int) -> list[Outcome[Any]]:
    """One request every so often, whatever becomes of those before."""
    api = Api(servers, seed=7)
    try:
        async with Balancer(workers=WORKERS, buffer=many) as balancer, asyncio.TaskGroup() as group:
            tasks: list[asyncio.Task[Outcome[Any]]] = []
            loop = asyncio.get_running_loop()
            begin = loop.time()
            for number in range(many):
                await asyncio.sleep(begin + number / PER_SECOND - loop.time())
                tasks.append(group.create_task(balancer.arun(page(Visit(number, api)))))
        return [task.result() for task in tasks]
    finally:
        await api.aclose()


def models(outcomes: list[Outcome[Any]]) -> dict[str, LatencyModel]:
    """What the backends do, and what the bridges between them need of an answer."""
    learned = LatencyModel.from_outcomes(outcomes)
    user = User(Visit(0, None), 1, "Ada", "Ulm")  # type: ignore[arg-type]  # nobody asks an Api
    values = {"fetch_user": user, "fetch_orders": Orders(user, [10, 20]), "fetch_shops": [Shop("Mill", "Ulm", "Ulm")]}
    return {name: model.returning(values[name]) for name, model in learned.items()}


def quantile(values: list[float], q: float) -> float:
    return sorted(values)[max(0, -(-int(q * len(values) * 1000) // 1000) - 1)]


def main() -> None:
    many = int(sys.argv[1]) if len(sys.argv) > 1 else REQUESTS
    with Servers() as servers:
        outcomes = asyncio.run(measured(servers, many + WARM_UP))[WARM_UP:]
    taught, fresh = outcomes[0::2], outcomes[1::2]
    backends = models(taught)
    for name, model in backends.items():
        print(f"  {name}: {model!r}")
    simulation = simulate(page, backends, arrivals=regular(PER_SECOND), workers=WORKERS)
    real = [outcome.queued + outcome.elapsed for outcome in fresh]
    print(f"\n{many} requests measured, {PER_SECOND} a second, half of them taught the models; milliseconds")
    print(f"  {'':6} {'measured':>10} {'simulated':>10} {'off by':>8}")
    for name, q in NODES.items():
        there, here = quantile(real, q), simulation.latency.quantile(q)
        print(f"  {name:6} {there:10.1f} {here:10.1f} {100 * (here / there - 1):7.1f} %   {here!r}")
    failed = sum(1 for outcome in fresh if outcome.value_or(None) is None) / len(fresh)
    print(f"  failed {failed:9.2%} {1 - simulation.succeeded:10.2%}")
    for name, load in simulation.backends.items():
        calls = sum(outcome[name].attempts for outcome in fresh) / len(fresh)
        print(f"  {name} calls a request: measured {calls:.3f}, simulated {load.calls / simulation.requests:.3f}")


if __name__ == "__main__":
    main()
