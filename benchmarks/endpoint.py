"""The endpoint of ``examples/shop`` beside the same by hand: ``python -m benchmarks.endpoint [--rounds N] [--uvloop]``.

Both are served by uvicorn, in processes of their own, over the same three backends and database, with the same faults.
200 clients ask, each again as soon as it has its answer, so the server is always busy. Rounds alternate, A B B A, so
that a noisy machine is noisy for both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.request import urlopen

from attrs import define, field

from examples.shop.start_backends import Places, backends, process

APPS = {"rio_chain": "benchmarks.endpoint_app:app", "by hand": "benchmarks.by_hand.endpoint:app"}
CLIENTS = 200
PRODUCTS = 900
LEAST, TRIES = 0.98, 5


@define
class Round:
    """What came out of one round of one application."""

    seconds: float = 0
    cpu: float = 0
    took: list[float] = field(factory=list[float])
    statuses: Counter[int] = field(factory=Counter[int])

    @property
    def rate(self) -> float:
        return len(self.took) / self.seconds

    @property
    def p99(self) -> float:
        return quantile(self.took, 0.99)

    @property
    def cpu_each(self) -> float:
        """Milliseconds of processor time of the server for one request."""
        return 1000 * self.cpu / len(self.took)


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class Client:
    """One client with one connection: it asks, reads the answer, and asks again. Quicker than any library."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, path: str) -> tuple[int, bytes]:
        self.writer.write(b"GET %s HTTP/1.1\r\nhost: shop\r\n\r\n" % path.encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        return int(head[9:12]), await self.reader.readexactly(length)

    def close(self) -> None:
        self.writer.close()


async def load(port: int, many: int, clients: int) -> Round:
    """So many requests from so many clients."""
    found = Round()
    numbers = iter(range(many))

    async def one(client: Client) -> None:
        for number in numbers:
            began = time.perf_counter()
            status, _ = await client.ask(f"/products/{number % PRODUCTS}")
            found.took.append(1000 * (time.perf_counter() - began))
            found.statuses[status] += 1

    several = [Client(port) for _ in range(clients)]
    for client in several:
        await client.open()
    before = json.loads((await several[0].ask("/cpu"))[1])["seconds"]
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for client in several:
            group.create_task(one(client))
    found.seconds = time.perf_counter() - began
    found.cpu = json.loads((await several[0].ask("/cpu"))[1])["seconds"] - before
    for client in several:
        client.close()
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def server(app: str, places: Places, loop: str) -> Iterator[int]:
    port = free_port()
    options = ["--port", str(port), "--loop", loop, "--http", "auto", "--no-access-log", "--log-level", "warning"]
    with process("uvicorn", app, *options, "--backlog", "1024", env=places.to_env()):
        until = time.monotonic() + 20
        while True:
            try:
                urlopen(f"http://127.0.0.1:{port}/cpu", timeout=1).close()
                break
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)
        yield port


def undisturbed(port: int, requests: int, clients: int) -> Round:
    """A round in which nearly all were answered. Where the machine stops for a moment, breakers open, and what is
    refused costs nothing.
    """
    for _ in range(TRIES):
        found = asyncio.run(load(port, requests, clients))
        if found.statuses[200] >= LEAST * requests:
            return found
        time.sleep(3)  # until the breakers have closed
    raise SystemExit(f"this machine is too busy: {dict(found.statuses)}")


def measured(options: argparse.Namespace) -> dict[str, list[Round]]:
    with backends() as places:
        places.set_faults(errors=options.errors, stalls=options.stalls, latency=options.latency)
        names = list(APPS)
        with (
            server(APPS[names[0]], places, options.loop) as first,
            server(APPS[names[1]], places, options.loop) as other,
        ):
            ports = dict(zip(names, (first, other), strict=True))
            for name in names:
                asyncio.run(load(ports[name], 500, options.clients))
            rounds: dict[str, list[Round]] = {name: [] for name in names}
            for number in range(options.rounds):
                for name in names if number % 2 else reversed(names):
                    rounds[name].append(undisturbed(ports[name], options.requests, options.clients))
    return rounds


def table(rounds: dict[str, list[Round]]) -> str:
    ours, by_hand = rounds["rio_chain"], rounds["by hand"]
    lines = [f"{'':28}{'rio_chain':>12}{'by hand':>12}{'ratio':>9}   spread of the ratio"]
    for name, of in (
        ("requests per second", lambda one: one.rate),
        ("processor time, ms each", lambda one: one.cpu_each),
        ("p50, ms", lambda one: quantile(one.took, 0.5)),
        ("p99, ms", lambda one: one.p99),
    ):
        pairs = [of(a) / of(b) for a, b in zip(ours, by_hand, strict=True)]
        mine, theirs = (statistics.median(map(of, some)) for some in (ours, by_hand))
        ratio = statistics.median(pairs)
        lines.append(f"{name:28}{mine:12.2f}{theirs:12.2f}{ratio:8.3f}x   {min(pairs):.3f} .. {max(pairs):.3f}")
    for name, some in rounds.items():
        lines.append(
            f"{name}: "
            + ", ".join(
                f"{many} x {status}" for status, many in sum((one.statuses for one in some), Counter()).most_common()
            )
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.endpoint", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--requests", type=int, default=4_000, help="in one round of one application")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="uvloop")
    parser.add_argument("--errors", type=float, default=0.02)
    parser.add_argument("--stalls", type=float, default=0.002)
    parser.add_argument("--latency", type=float, default=6)
    parser.add_argument("--attempt", type=int, default=300, help="ms; more where the machine is busy")
    parser.add_argument("--queue-timeout", type=int, default=500, help="ms; more where the machine is busy")
    options = parser.parse_args()
    os.environ["SHOP_QUEUE_TIMEOUT"] = str(options.queue_timeout)
    os.environ["SHOP_ATTEMPT"] = str(options.attempt)
    print(table(measured(options)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
