"""Our chains: 4 steps and 3 bridges, in three shapes; run as users run them.

That is with the default ``abandon_after``, and the result and one Response are read.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal

from returns.result import Success

from rio_chain import Chain, Outcome, Task, fan_out

Shape = Literal["bare", "limited", "guarded"]
"""Guarded: a limit of 1 s on each attempt, and up to 3 retries."""
Step = Callable[[int], Coroutine[Any, Any, int]]
STEPS = 4


def bridge(value: int) -> int:
    return value


async def instant_step(value: int) -> int:
    return value


def blocking_step(value: int) -> int:
    return value


def with_policies(function: Callable[[int], Any], shape: Shape) -> Chain[[int], int]:
    task = Task(function)
    if shape == "bare":
        return task
    return task.timeout(1000) if shape == "limited" else task.timeout(1000).retry(3)


def chain_of(function: Callable[[int], Any], shape: Shape = "guarded") -> Chain[[int], int]:
    one = with_policies(function, shape)
    return one >> bridge >> one >> bridge >> one >> bridge >> one


def side_by_side(function: Callable[[int], Any], branches: int = 2) -> Chain[[int], Any]:
    """Guarded branches, on the same input."""
    return fan_out(*[with_policies(function, "guarded")] * branches)


def read(outcome: Outcome[Any]) -> None:
    """What a user does with an Outcome."""
    assert type(outcome.result) is Success
    assert outcome[0].attempts >= 1  # a hedged call has more


def awaited(chain: Chain[[int], Any]) -> Callable[[], Awaitable[None]]:
    """A case: await one request."""

    async def case() -> None:
        read(await chain(1))

    return case
