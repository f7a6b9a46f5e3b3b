"""Calls that become one call of a backend: time for each of them, at 1, 10 and 100 in a batch."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from typing import Any

import trio

from benchmarks.measure import Case, on_loop, plain
from benchmarks.settings import Settings
from benchmarks.table import Table
from rio_chain import Balancer, Batch, Task, each

SIZES = 1, 10, 100
LONG = 60_000
"""Milliseconds: no batch here waits for its ``wait``."""


async def fetch_many(keys: list[int]) -> list[int]:
    return [key + 1 for key in keys]


def fetch_blocking(keys: list[int]) -> list[int]:
    return [key + 1 for key in keys]


class ByHand:
    """What people write: the calls of one turn of the loop become one. It knows no limits and no cancellation."""

    def __init__(self) -> None:
        self.waiting: dict[int, asyncio.Future[int]] = {}

    def load(self, key: int) -> asyncio.Future[int]:
        if not self.waiting:
            loop = asyncio.get_running_loop()
            loop.call_soon(lambda: loop.create_task(self.send()))
        return self.waiting.setdefault(key, asyncio.get_running_loop().create_future())

    async def send(self) -> None:
        waiting, self.waiting = self.waiting, {}
        for future, value in zip(waiting.values(), await fetch_many([*waiting]), strict=True):
            future.set_result(value)


class ByHandOnTrio:
    """The same with events."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.waiting: dict[int, trio.Event] = {}
        self.found: dict[int, int] = {}

    async def load(self, key: int) -> int:
        if not self.waiting:
            self.nursery.start_soon(self.send)
        await self.waiting.setdefault(key, trio.Event()).wait()
        return self.found[key]

    async def send(self) -> None:
        await trio.lowlevel.checkpoint()
        waiting, self.waiting = self.waiting, {}
        self.found = dict(zip(waiting, await fetch_many([*waiting]), strict=True))
        for event in waiting.values():
            event.set()


class ByHandOnThreads:
    """The same for threads of a pool: the last of so many makes the call."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.lock = threading.Lock()
        self.waiting: dict[int, Future[int]] = {}

    def load(self, key: int) -> int:
        with self.lock:
            future = self.waiting.setdefault(key, Future())
            full = self.waiting if len(self.waiting) == self.size else {}
            if full:
                self.waiting = {}
        if full:
            for one, value in zip(full.values(), fetch_blocking([*full]), strict=True):
                one.set_result(value)
        return future.result()


def loaders() -> dict[str, Callable[[], Callable[[int], Awaitable[int]]]]:
    """Those that are installed, each made for the loop that runs."""
    found: dict[str, Callable[[], Callable[[int], Awaitable[int]]]] = {}
    for name, module, options in (
        ("aiodataloader", "aiodataloader", {"batch_load_fn": fetch_many, "cache": False}),
        ("Strawberry's DataLoader", "strawberry.dataloader", {"load_fn": fetch_many, "cache": False}),
    ):
        try:
            cls: Any = import_module(module).DataLoader
        except ImportError:
            continue
        found[name] = lambda cls=cls, options=options: cls(**options).load
    return found


async def on_asyncio(settings: Settings) -> list[Table]:
    tables: list[Table] = []
    for size in SIZES:
        batch = Batch(size, LONG)
        chain = Task(fetch_many).batch(batch)
        items = each(chain, limit=size)
        keys, wanted = [*range(size)], sum(range(1, size + 1))

        def loading(load: Callable[[int], Awaitable[int]], keys: list[int] = keys, wanted: int = wanted) -> Any:
            async def call() -> None:
                assert sum(await asyncio.gather(*map(load, keys))) == wanted

            return call

        async def opened(
            batch: Batch = batch, chain: Any = chain, keys: list[int] = keys, wanted: int = wanted
        ) -> None:
            with batch.open():
                outcomes = await asyncio.gather(*map(chain, keys))
            assert sum(outcome.unwrap() for outcome in outcomes) == wanted

        async def one_run(items: Any = items, keys: list[int] = keys, wanted: int = wanted) -> None:
            assert sum((await items(keys)).unwrap()) == wanted

        cases = [Case("by hand", loading(ByHand().load), size)]
        cases += [Case(name, loading(made()), size) for name, made in loaders().items()]
        cases += [Case("rio_chain, requests in open()", opened, size), Case("rio_chain, each", one_run, size)]
        tables.append(Table(f"batches of {size}, asyncio: time for a call", await on_loop(cases, settings.effort)))
    return tables


async def on_trio(settings: Settings) -> list[Table]:
    tables: list[Table] = []
    for size in SIZES:
        items = each(Task(fetch_many).batch(Batch(size, LONG)), limit=size)
        keys, wanted = [*range(size)], sum(range(1, size + 1))

        async def by_hand(keys: list[int] = keys, wanted: int = wanted) -> None:
            total = 0

            async def one(key: int) -> None:
                nonlocal total
                value = await loader.load(key)
                total += value

            async with trio.open_nursery() as nursery:
                loader = ByHandOnTrio(nursery)
                for key in keys:
                    nursery.start_soon(one, key)
            assert total == wanted

        async def one_run(items: Any = items, keys: list[int] = keys, wanted: int = wanted) -> None:
            assert sum((await items(keys)).unwrap()) == wanted

        cases = [Case("by hand", by_hand, size), Case("rio_chain, each", one_run, size)]
        tables.append(Table(f"batches of {size}, trio: time for a call", await on_loop(cases, settings.effort)))
    return tables


def on_threads(settings: Settings) -> list[Table]:
    tables: list[Table] = []
    with Balancer("thread", threads=100) as balancer, ThreadPoolExecutor(100) as pool:
        for size in SIZES:
            items = each(Task(fetch_blocking).batch(Batch(size, LONG)), limit=size)
            keys, wanted = [*range(size)], sum(range(1, size + 1))
            loader = ByHandOnThreads(size)

            def by_hand(loader: Any = loader, keys: list[int] = keys, wanted: int = wanted) -> None:
                assert sum(pool.map(loader.load, keys)) == wanted

            def one_run(items: Any = items, keys: list[int] = keys, wanted: int = wanted) -> None:
                assert sum(balancer.run(items(keys)).unwrap()) == wanted

            cases = [Case("by hand, a thread for each call", by_hand, size), Case("rio_chain, each", one_run, size)]
            tables.append(Table(f"batches of {size}, threads: time for a call", plain(cases, settings.effort)))
    return tables


def tables(settings: Settings) -> list[Table]:
    return [*asyncio.run(on_asyncio(settings)), *trio.run(on_trio, settings), *on_threads(settings)]
