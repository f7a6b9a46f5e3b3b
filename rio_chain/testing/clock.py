"""Sleeping, for functions that are scripted."""

from __future__ import annotations

from rio_chain.executors import runtime_here
from rio_chain.executors.kernel import driven, let_others
from rio_chain.executors.kernel import sleep as strand_sleep
from rio_chain.units import Duration, seconds


async def sleep(ms: Duration) -> None:
    """Sleep on whichever loop this runs: asyncio, trio, or in virtual time, where no real time passes.

    Args:
        ms: how long, in milliseconds or as a ``timedelta``. 0 lets others go first.

    Raises:
        ChainDefinitionError: no duration.
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
    length = seconds(ms, "ms", zero=True)
    if driven() is None:
        await runtime_here().sleep(length)
    else:  # a strand, which knows its clock: in virtual time it may run on any thread
        await (strand_sleep(length) if length > 0 else let_others())
