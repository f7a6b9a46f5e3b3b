"""The functions that call the backends, but for the HTTP client, which each application brings.

They say nothing of limits or attempts. Each tells its backend how long it may take, and gives errors of two kinds:
``Missing``, which is an answer, and ``BackendDown``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

from attrs import frozen

from examples.shop.chains import BackendDown, Chains, Missing, Price, Product, Review, Stock, shop_chains
from examples.shop.start_backends import Places
from rio_chain import Task, remaining

REVIEWS = "select stars, text from reviews where product = ?"


def checked(status: int, body: bytes) -> Any:
    """The answer of a backend, if it is one."""
    if status == 404:
        raise Missing("no such product")
    if status != 200:
        raise BackendDown(f"status {status}")
    return json.loads(body)


def time_left() -> dict[str, str]:
    """What is left of the limits around a call, for its backend. ``Deadline.current().headers()`` has more dialects."""
    return {"x-deadline-ms": str(max(0, int(remaining())))}


@frozen
class AsyncFunctions:
    """Over an async client: ``get`` makes one call and gives its JSON."""

    places: Places
    get: Callable[[str], Awaitable[Any]]

    async def fetch_product(self, number: int) -> Product:
        """What it is."""
        found: Product = await self.get(f"{self.places.catalogue}/products/{number}")
        return found

    async def fetch_price(self, number: int) -> Price:
        """What it costs."""
        found: Price = await self.get(f"{self.places.prices}/prices/{number}")
        return found

    async def fetch_stock(self, number: int) -> Stock:
        """How many there are."""
        found: Stock = await self.get(f"{self.places.stock}/stock/{number}")
        return found

    def chains(self, read_reviews: Task[[int], list[Review]], attempt: float = 300) -> Chains:
        """The chains over these functions; the database needs one of its own."""
        product, price, stock = Task(self.fetch_product), Task(self.fetch_price), Task(self.fetch_stock)
        return shop_chains(product, price, stock, read_reviews, attempt)


@frozen
class BlockingFunctions:
    """Over a blocking client."""

    places: Places
    get: Callable[[str], Any]

    def fetch_product(self, number: int) -> Product:
        """What it is."""
        found: Product = self.get(f"{self.places.catalogue}/products/{number}")
        return found

    def fetch_price(self, number: int) -> Price:
        """What it costs."""
        found: Price = self.get(f"{self.places.prices}/prices/{number}")
        return found

    def fetch_stock(self, number: int) -> Stock:
        """How many there are."""
        found: Stock = self.get(f"{self.places.stock}/stock/{number}")
        return found

    def chains(self) -> Chains:
        """The chains over these functions."""
        read_reviews = Task(BlockingReviews(self.places.database).read_reviews)
        return shop_chains(Task(self.fetch_product), Task(self.fetch_price), Task(self.fetch_stock), read_reviews)


@frozen
class BlockingReviews:
    """The database, by sqlite3. A task of a blocking function runs on a thread, also on asyncio and trio."""

    path: str

    def read_reviews(self, number: int) -> list[Review]:
        """All reviews of a product. A connection belongs to its thread, so each call opens one."""
        with closing(sqlite3.connect(self.path)) as database:
            return [{"stars": stars, "text": text} for stars, text in database.execute(REVIEWS, (number,))]
