"""AwaitedInContext: an awaitable of a sync function is driven in the context of its attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from rio_chain.engine._observed_call import AwaitedInContext

where: ContextVar[str] = ContextVar("where", default="outside")


class Ended:
    """What is called at the end, and in which context."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, type[BaseException] | None, Any]] = []

    def __call__(self, error: BaseException | None, got: Any) -> None:
        self.calls.append((where.get(), None if error is None else type(error), got))


def made(awaitable: Any) -> tuple[AwaitedInContext, Ended]:
    context, ended = copy_context(), Ended()
    context.run(where.set, "inside")
    return AwaitedInContext(context, awaitable, ended), ended


def test_each_step_is_in_the_context() -> None:
    seen: list[str] = []

    async def body() -> int:
        for _ in range(3):
            seen.append(where.get())
            await asyncio.sleep(0)
        return 7

    async def main() -> int:
        got = await awaited
        seen.append(where.get())
        return got

    awaited, ended = made(body())
    assert asyncio.run(main()) == 7
    assert seen == ["inside"] * 3 + ["outside"]
    assert ended.calls == [("inside", None, 7)]


def test_an_error_goes_on() -> None:
    async def body() -> None:
        raise LookupError

    async def main() -> None:
        await awaited

    awaited, ended = made(body())
    with pytest.raises(LookupError):
        asyncio.run(main())
    assert ended.calls == [("inside", LookupError, None)]


def test_a_cancellation_reaches_the_body_which_may_answer_it() -> None:
    async def body() -> str:
        try:
            await asyncio.sleep(5)
        except asyncio.CancelledError:
            return f"cancelled {where.get()}"
        return "slept"

    async def main() -> str:
        task = asyncio.create_task(outer())
        await asyncio.sleep(0)
        task.cancel()
        return await task

    async def outer() -> str:
        return await awaited

    awaited, ended = made(body())
    assert asyncio.run(main()) == "cancelled inside"
    assert ended.calls == [("inside", None, "cancelled inside")]


def test_one_that_is_closed_in_the_midst_closes_the_body() -> None:
    closed: list[str] = []

    class Step:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def body() -> None:
        try:
            await Step()
        finally:
            closed.append(where.get())

    awaited, ended = made(body())
    steps = awaited.__await__()
    next(steps)
    steps.close()
    assert closed == ["inside"]
    assert ended.calls == [("inside", GeneratorExit, None)]


def test_one_that_nobody_awaits_closes_the_body() -> None:
    async def body() -> None:
        raise AssertionError("it is never awaited")

    awaited, ended = made(body())
    awaited.close()  # without a warning that it was never awaited
    assert ended.calls == [("inside", GeneratorExit, None)]


def test_an_awaitable_without_send_and_throw() -> None:
    class Plain:
        def __await__(self) -> Any:
            return iter(["asked"])

    awaited, ended = made(Plain())
    steps = awaited.__await__()
    assert next(steps) == "asked"
    with pytest.raises(LookupError):
        steps.throw(LookupError())
    assert ended.calls == [("inside", LookupError, None)]
