"""The callers: several threads, and several tasks on each of several loops."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import trio

from benchmarks.soak.asking import Asker
from benchmarks.soak.from_tasks import HOME_WAYS, TASK_WAYS
from benchmarks.soak.from_threads import THREAD_WAYS
from benchmarks.soak.homes import Home
from benchmarks.soak.loops import pause, together

THREADS, TASKS = 3, 6
"""Callers of each executor: so many threads, and so many tasks on each of its loops."""
REST = 4
"""Milliseconds at the most before a caller asks again: else most of what it asks for would be refused."""


class Crowd:
    """The callers of one executor, for one round. ``more`` says whether they go on."""

    def __init__(self, asker: Asker, home: Home, more: Callable[[], bool]) -> None:
        self.asker = asker
        self.home = home
        self.more = more

    def start(self, seed: str) -> list[threading.Thread]:
        """Start them all: threads of their own, a loop of each kind, and the loop where the balancer lives."""
        works: list[Callable[[], Any]] = [partial(self.on_a_thread, f"{seed}/thread{i}") for i in range(THREADS)]
        works += [
            lambda: asyncio.run(self.on_a_loop(f"{seed}/asyncio", TASK_WAYS)),
            lambda: trio.run(self.on_a_loop, f"{seed}/trio", TASK_WAYS),
            lambda: self.home.call(partial(self.on_a_loop, f"{seed}/home", HOME_WAYS)),
        ]
        threads = [
            threading.Thread(target=work, name=f"soak-{self.home.executor}-{i}", daemon=True)
            for i, work in enumerate(works)
        ]
        for thread in threads:
            thread.start()
        return threads

    def on_a_thread(self, seed: str) -> None:
        """One caller."""
        draw = random.Random(seed)  # noqa: S311 - needs no secrecy
        while self.more():
            draw.choice(THREAD_WAYS)(self.asker, draw)
            time.sleep(draw.random() * REST / 1000)

    async def on_a_loop(self, seed: str, ways: tuple[Callable[[Asker, random.Random], Any], ...]) -> None:
        """Several callers, each a task."""

        async def caller(index: int) -> None:
            draw = random.Random(f"{seed}/{index}")  # noqa: S311 - needs no secrecy
            while self.more():
                await draw.choice(ways)(self.asker, draw)
                await pause(draw.random() * REST)

        await together([partial(caller, index) for index in range(TASKS)])
