"""An awaitable as a coroutine."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def awaited(awaitable: Awaitable[T]) -> T:
    """What it gives. For a future, a Request or another awaitable where an async function or a coroutine is wanted."""
    return await awaitable
