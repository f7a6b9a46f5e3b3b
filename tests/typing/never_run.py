"""A Request that is never run: mypy finds it with ``unused-awaitable``, which is off by default."""

# mypy: enable-error-code="unused-awaitable"
# pyright: strict, reportUnusedExpression=true

import asyncio
from typing import assert_type

from rio_chain import Balancer, Outcome, Task


async def fetch_user(user_id: int) -> str:
    raise NotImplementedError


user = Task(fetch_user)


async def forgotten(balancer: Balancer) -> None:
    user(42)  # type: ignore[unused-awaitable]
    user(42).arun()  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
    balancer.post(user(42))  # type: ignore[unused-awaitable]
    _ = balancer.post(user(42))
    await user(42)
    assert_type(await user(42).arun(deadline=100), Outcome[str])
    assert_type(await asyncio.create_task(user(42).arun()), Outcome[str])
    assert_type(asyncio.run(user(42).arun()), Outcome[str])
