"""Starts the backends as processes and makes the database, for as long as a ``with`` lasts."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, build_opener

from attrs import frozen

from examples.shop.backends import ANSWERS, PRODUCTS

ROOT = Path(__file__).parents[2]
TEXTS = ("as described", "arrived late", "again any time", "good for the price", "a gift, well received")
_direct = build_opener(ProxyHandler({}))  # whatever proxies the environment names


@frozen
class Places:
    """Where the backends are."""

    catalogue: str
    prices: str
    stock: str
    database: str

    @classmethod
    def from_env(cls) -> Places:
        """Those of the process that started this one."""
        return cls(**json.loads(os.environ["SHOP_PLACES"]))

    def to_env(self) -> dict[str, str]:
        """For the environment of a process."""
        return {"SHOP_PLACES": json.dumps({name: getattr(self, name) for name in (*ANSWERS, "database")})}

    def ask(self, name: str, path: str) -> dict[str, Any]:
        """What a backend says of itself, or is to do: ``places.ask("stock", "/faults?errors=1")``."""
        with _direct.open(f"{getattr(self, name)}{path}", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def stats(self) -> dict[str, dict[str, Any]]:
        """What each of them has seen."""
        return {name: self.ask(name, "/stats") for name in ANSWERS}

    def set_faults(self, **faults: float) -> None:
        """The same for all three."""
        for name in ANSWERS:
            self.ask(name, "/faults?" + "&".join(f"{key}={value}" for key, value in faults.items()))


def make_database(path: Path) -> None:
    """Reviews of each product: none to three of them."""
    with sqlite3.connect(path) as database:
        database.execute("create table reviews (product integer, stars integer, text text)")
        database.execute("create index of_product on reviews (product)")
        rows = [
            (product, 1 + (product + number) % 5, TEXTS[(product + 2 * number) % len(TEXTS)])
            for product in range(PRODUCTS)
            for number in range(product % 4)
        ]
        database.executemany("insert into reviews values (?, ?, ?)", rows)
    database.close()


@contextmanager
def process(*arguments: str, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A Python process that ends with the block: it closes its standard input, and asks it with SIGTERM if need be."""
    command = [sys.executable, "-m", *arguments]
    with subprocess.Popen(  # noqa: S603 - our own modules
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **(env or {})}
    ) as started:
        try:
            yield started
        finally:
            assert started.stdin is not None  # noqa: S101 - it is a pipe
            started.stdin.close()
            try:
                started.wait(2)
            except subprocess.TimeoutExpired:
                started.send_signal(signal.SIGTERM)
                try:
                    started.wait(10)
                except subprocess.TimeoutExpired:
                    started.kill()


def first_line(started: subprocess.Popen[str]) -> str:
    """What a process prints when it is ready."""
    assert started.stdout is not None  # noqa: S101 - it is a pipe
    line = started.stdout.readline().strip()
    if not line:
        raise RuntimeError(f"a backend did not start: {started.args!r}")
    return line


@contextmanager
def backends(seed: int = 1) -> Iterator[Places]:
    """All of them, running from ``with`` to its end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="shop-")))
        make_database(folder / "reviews.sqlite")
        running = {
            name: stack.enter_context(process("examples.shop.backends", name, "--seed", str(seed))) for name in ANSWERS
        }
        urls = {name: first_line(started) for name, started in running.items()}
        yield Places(**urls, database=str(folder / "reviews.sqlite"))
