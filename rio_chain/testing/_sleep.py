"""sleep: for async functions of tests."""

from __future__ import annotations

from rio_chain._core.units import Duration, seconds
from rio_chain.executors._sleep import sleep_here


async def sleep(ms: Duration) -> None:
    """Sleep on the running loop: asyncio, trio, or virtual time, where no real time passes.

    Args:
        ms: how long, in milliseconds or as a ``timedelta``. 0 lets other tasks run.

    Raises:
        ChainDefinitionError: ``ms`` is not a duration.
        UsageError: no loop is running.

    Example:
        >>> from rio_chain import Task
        >>> from rio_chain.testing import sleep
        >>> async def fetch(x: int) -> int:
        ...     await sleep(60_000)
        ...     return x
        >>> Task(fetch).timeout(90_000)(7).run(executor="virtual").elapsed
        60000.0
    """
    await sleep_here(seconds(ms, "ms", zero=True))
