"""The shop's functions on asyncio: aiohttp, and SQLite through aiosqlite."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import aiosqlite

from examples.shop.chains import BackendDown, Chains, Review
from examples.shop.functions import REVIEWS, AsyncFunctions, checked, time_left
from examples.shop.start_backends import Places
from rio_chain import Task


class AsyncioClient:
    """Connections that ``open`` opens, on the loop that uses them. The chains can be built and shown before that."""

    def __init__(self, places: Places, attempt: float = 300) -> None:
        self.chains: Chains = AsyncFunctions(places, self.get).chains(Task(self.read_reviews), attempt)
        self._places = places
        self._web: aiohttp.ClientSession
        self._database: aiosqlite.Connection

    async def get(self, url: str) -> Any:
        """One call. What is left of its limits goes along as a header."""
        try:
            async with self._web.get(url, headers=time_left()) as answer:
                return checked(answer.status, await answer.read())
        except aiohttp.ClientError as error:
            raise BackendDown(str(error)) from error

    async def read_reviews(self, number: int) -> list[Review]:
        """All reviews of a product."""
        rows = await self._database.execute_fetchall(REVIEWS, (number,))
        return [{"stars": stars, "text": text} for stars, text in rows]

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """The connections, for as long as a block lasts. The balancer bounds the calls, so the pool does not."""
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as self._web,
            aiosqlite.connect(self._places.database) as self._database,
        ):
            yield
