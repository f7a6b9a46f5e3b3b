"""Turns an awaitable into a coroutine."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def awaited(awaitable: Awaitable[T]) -> T:
    """Await it. Use this for a future, a Request or another awaitable where a coroutine or async function is needed."""
    return await awaitable
