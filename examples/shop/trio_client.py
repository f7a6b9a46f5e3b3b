"""The shop's functions on trio: httpx2, and SQLite on threads."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from examples.shop.chains import BackendDown, Chains
from examples.shop.functions import AsyncFunctions, BlockingReviews, checked, time_left
from examples.shop.start_backends import Places
from rio_chain import Task

POOL = httpx2.Limits(max_connections=None, max_keepalive_connections=100)


class TrioClient:
    """Connections that ``open`` opens. httpx2 and its chains run on asyncio just as well."""

    def __init__(self, places: Places) -> None:
        reviews = BlockingReviews(places.database)
        self.chains: Chains = AsyncFunctions(places, self.get).chains(Task(reviews.read_reviews))
        self._web: httpx2.AsyncClient

    async def get(self, url: str) -> Any:
        """One call. What is left of its limits goes along as a header."""
        try:
            answer = await self._web.get(url, headers=time_left())
        except httpx2.HTTPError as error:
            raise BackendDown(str(error)) from error
        return checked(answer.status_code, answer.content)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """The connections, for as long as a block lasts. Limits are those of the chains: the client has none."""
        async with httpx2.AsyncClient(trust_env=False, timeout=None, limits=POOL) as self._web:
            yield
