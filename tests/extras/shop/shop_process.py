"""The shop as a process of its own, ``python -m examples.shop``, and clients with real sockets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from attrs import define, field

ROOT = Path(__file__).parents[3]
LONG = 30


@define
class Answer:
    """What came back, and after how many milliseconds."""

    status: int
    headers: str
    body: bytes
    took: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@define(eq=False)
class Connection:
    """One connection, on which one request after the other is asked."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, path: str, headers: str = "", body: bytes = b"") -> None:
        method = "POST" if body else "GET"
        length = f"content-length: {len(body)}\r\ncontent-type: application/json\r\n" if body else ""
        self.writer.write(f"{method} {path} HTTP/1.1\r\nhost: shop\r\n{length}{headers}\r\n".encode() + body)

    async def ask(self, path: str, headers: str = "", body: bytes = b"") -> Answer:
        began = time.perf_counter()
        self.send(path, headers, body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        found = await self.reader.readexactly(int(head.partition("content-length:")[2].partition("\r\n")[0]))
        return Answer(int(head.split(" ")[1]), head, found, 1000 * (time.perf_counter() - began))

    async def rest(self) -> bytes:
        """What comes without having been asked for, within 50 ms."""
        try:
            return await asyncio.wait_for(self.reader.read(1), 0.05)
        except TimeoutError:
            return b""


@define(eq=False)
class ShopProcess:
    """A running shop."""

    process: subprocess.Popen[str]
    port: int
    open: list[Connection] = field(factory=list)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        one = Connection(*await asyncio.open_connection("127.0.0.1", self.port))
        try:
            yield one
        finally:
            one.writer.close()

    async def ask(self, path: str, headers: str = "", body: bytes = b"") -> Answer:
        async with self.connection() as one:
            return await one.ask(path, headers, body)

    async def get(self, path: str) -> Any:
        return (await self.ask(path)).json

    async def faults(self, **faults: float) -> None:
        """How the backends behave. Milliseconds, and shares from 0 to 1."""
        calm = {"latency": 5, "errors": 0, "stalls": 0}
        answer = await self.ask("/faults", body=json.dumps({**calm, **faults}).encode())
        assert answer.status == 200

    async def until(self, path: str, holds: Callable[[Any], bool]) -> Any:
        """What a path gives as soon as it is as wanted."""
        end = time.monotonic() + LONG
        while True:
            found = await self.get(path)
            if holds(found):
                return found
            assert time.monotonic() < end, found
            await asyncio.sleep(0.005)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(LONG)


@contextmanager
def running(server: str, *options: str) -> Iterator[ShopProcess]:
    command = [sys.executable, "-m", "examples.shop", "--server", server, "--port", "0", *options]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            shop = ShopProcess(process, int(process.stdout.readline().rpartition(":")[2]))
            urlopen(f"http://127.0.0.1:{shop.port}/ready", timeout=LONG).close()
            yield shop
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(LONG)
                except subprocess.TimeoutExpired:
                    process.kill()


async def together(many: int, clients: int, one: Callable[[int], Awaitable[Answer]]) -> list[Answer]:
    """So many requests, at most ``clients`` of them at once."""
    room = asyncio.Semaphore(clients)

    async def asked(number: int) -> Answer:
        async with room:
            return await one(number)

    return await asyncio.gather(*map(asked, range(many)))


def quantile(answers: list[Answer], share: float) -> float:
    took = sorted(answer.took for answer in answers)
    return took[min(len(took) - 1, int(share * len(took)))]
