"""One of the three backends, as a process of its own: ``python -m examples.shop.backends prices --seed 7``.

It is a plain HTTP server on the loopback interface. Each answer takes its time, some are errors, and some stall: what
goes wrong follows from the seed and the number of the call. ``/stats`` says what it has seen, ``/faults`` sets how
much goes wrong. It prints its address when it listens, and ends when its standard input does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from attrs import asdict, define, field

PRODUCTS = 1_000
NAMES = ("tea", "bread", "honey", "olives", "cheese", "plums", "coffee")
HEAD_END = b"\r\n\r\n"
REASONS = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}


def catalogue(number: int) -> dict[str, Any]:
    """What a product is."""
    return {"id": number, "name": NAMES[number % len(NAMES)], "maker": f"maker {number % 13}"}


def prices(number: int) -> dict[str, Any]:
    """What it costs."""
    return {"cents": 199 + 37 * number % 5_000}


def stock(number: int) -> dict[str, Any]:
    """How many there are."""
    return {"count": 7 * number % 50}


ANSWERS: dict[str, Callable[[int], dict[str, Any]]] = {"catalogue": catalogue, "prices": prices, "stock": stock}


@define
class Faults:
    """How a backend behaves. Shares are from 0 to 1, times are milliseconds."""

    latency: float = 6
    spread: float = 0.35
    """Of the logarithm of the latency: with 0.35 one call in a hundred takes more than twice as long."""
    errors: float = 0.02
    stalls: float = 0.005
    stalled_for: float = 5_000


SHOWN = {
    "latency": "milliseconds of a usual call of a backend",
    "errors": "the share of calls that fail",
    "stalls": "the share of calls that hang for 5 s",
}
"""The faults that can be set from outside."""


def checked_faults(given: Mapping[str, Any]) -> dict[str, float]:
    """Faults as numbers.

    Raises:
        ValueError: a share is not from 0 to 1, or a latency is negative.
    """
    return {name: checked_fault(name, value) for name, value in given.items()}


def checked_fault(name: str, value: Any) -> float:
    """The number of one fault."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if name in {"errors", "stalls"}:
        if not 0 <= number <= 1:
            raise ValueError(f"{name} is a share from 0 to 1, such as 0.4 for 40 %; got {value}")
    elif not 0 <= number < math.inf:
        raise ValueError(f"{name} is a number of milliseconds, 0 or more; got {value}")
    return number


@define
class Stats:
    """What a backend has seen."""

    calls: int = 0
    answered: int = 0
    failed: int = 0
    disconnected: int = 0
    """Calls whose client left before the answer."""
    running: int = 0
    deadline: str | None = None
    """The last ``x-deadline-ms`` that a call had."""
    deadlines: int = 0
    """Calls that had one."""


@define
class Backend:
    """What all connections share."""

    answer: Callable[[int], dict[str, Any]]
    draw: random.Random
    faults: Faults = field(factory=Faults)
    stats: Stats = field(factory=Stats)
    connections: set[asyncio.Transport] = field(factory=set)

    def reply(self, path: str) -> tuple[int, bytes, float]:
        """Status, body, and after how many seconds."""
        draw, faults = self.draw, self.faults
        took = faults.latency * draw.lognormvariate(0, faults.spread)
        fault = draw.random()
        key = path.rpartition("/")[2]
        if fault < faults.errors:
            return 503, b'{"error": "try again"}', took / 1000
        if not key.isdigit() or int(key) >= PRODUCTS:
            return 404, b'{"error": "no such thing"}', 0
        if fault < faults.errors + faults.stalls:
            took += faults.stalled_for
        return 200, json.dumps(self.answer(int(key))).encode(), took / 1000

    def set_faults(self, query: str) -> bytes:
        """``/faults?errors=0.5&latency=20``; without a query it says what holds now."""
        for name, value in parse_qsl(query):
            if name not in asdict(self.faults):
                continue
            setattr(self.faults, name, float(value))
        return json.dumps(asdict(self.faults)).encode()


class Connection(asyncio.Protocol):
    """One client. It sends one request at a time, without a body."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.transport: asyncio.Transport | None = None
        self.received = b""
        self.late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - create_server makes no other
        self.transport = transport
        self.backend.connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the signature of Protocol
        """The client has left. A call that is not answered yet is not answered any more."""
        if self.transport is not None:
            self.backend.connections.discard(self.transport)
        if self.late is not None:
            self.late.cancel()
            self.backend.stats.disconnected += 1
            self.backend.stats.running -= 1

    def data_received(self, data: bytes) -> None:
        """Read a head, and answer after a while."""
        self.received += data
        if HEAD_END not in self.received:
            return
        head, _, self.received = self.received.partition(HEAD_END)
        first, *headers = head.decode("latin-1").split("\r\n")
        url = urlsplit(first.split(" ")[1])
        if url.path == "/stats":
            self.send(200, json.dumps(asdict(self.backend.stats)).encode())
        elif url.path == "/faults":
            self.send(200, self.backend.set_faults(url.query))
        else:
            self.call(url.path, headers)

    def call(self, path: str, headers: list[str]) -> None:
        """A call of a client, which counts."""
        stats = self.backend.stats
        stats.calls += 1
        stats.running += 1
        for header in headers:
            name, _, value = header.partition(": ")
            if name.lower() == "x-deadline-ms":
                stats.deadline = value
                stats.deadlines += 1
        status, body, after = self.backend.reply(path)
        self.late = asyncio.get_running_loop().call_later(after, self.finish, status, body)

    def finish(self, status: int, body: bytes) -> None:
        """Answer a call."""
        self.late = None
        stats = self.backend.stats
        stats.running -= 1
        stats.answered += 1
        stats.failed += status >= 500
        self.send(status, body)

    def send(self, status: int, body: bytes) -> None:
        """Write head and body in one packet."""
        assert self.transport is not None  # noqa: S101 - there is a connection
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        self.transport.write(head.encode() + HEAD_END + body)


async def serve(backend: Backend) -> None:
    """Listen until standard input ends, which is when the process that started this one closes it or dies."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(backend), "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    over = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), over.set)
    await over.wait()
    server.close()
    for transport in list(backend.connections):
        transport.abort()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="One backend of the shop.")
    parser.add_argument("name", choices=ANSWERS)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    backend = Backend(ANSWERS[asked.name], random.Random(f"{asked.name}/{asked.seed}"))  # noqa: S311 - no secret
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes of a terminal; the shop drains first
    asyncio.run(serve(backend))


if __name__ == "__main__":
    main()
