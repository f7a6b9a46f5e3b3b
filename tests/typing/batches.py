"""What mypy --strict and pyright strict infer of a batch, and what they refuse. Both run over this file alone."""

from collections.abc import Sequence
from typing import assert_type

from returns.result import Result

from rio_chain import Batch, Chain, Task, each


def texts(keys: list[int]) -> list[str]:
    return [str(key) for key in keys]


async def by_key(keys: list[int]) -> dict[int, str]:
    return {key: str(key) for key in keys}


async def results(keys: Sequence[int]) -> list[Result[str, Exception]]:
    raise NotImplementedError(keys)


def results_by_key(keys: list[int]) -> dict[int, Result[str, Exception]]:
    raise NotImplementedError(keys)


async def all_or_none(keys: list[int]) -> Result[list[str], Exception]:
    raise NotImplementedError(keys)


async def with_errors(keys: list[int]) -> list[str | Exception]:
    raise NotImplementedError(keys)


def no_list(keys: list[int]) -> str:
    return str(keys)


def of_one(key: int) -> list[str]:
    return [str(key)]


batch = Batch(size=10, wait=2, key=str, scope="shared")
user = Task(texts).batch(batch)

assert_type(user, Chain[[int], str])
assert_type(Task(by_key).timeout(50).retry(2).batch(batch), Chain[[int], str])
assert_type(Task(results).batch(batch), Chain[[int], str])
assert_type(Task(results_by_key).batch(batch), Chain[[int], str])
assert_type(Task(all_or_none).batch(batch), Chain[[int], str])
assert_type(Task(with_errors).batch(batch), Chain[[int], str | Exception])
assert_type((Task(texts) >> sorted).batch(batch).timeout(100), Chain[[int], str])
assert_type(user >> len, Chain[[int], int])
assert_type(each(user, limit=10)([1]).run().unwrap(), list[str])
with batch.open():
    pass

user("x")  # type: ignore[arg-type]
user([1])  # type: ignore[arg-type]
Task(no_list).batch(batch)  # type: ignore[misc]  # pyright: ignore[reportUnknownMemberType]
Task(of_one).batch(batch)  # type: ignore[misc]  # pyright: ignore[reportUnknownMemberType]
Task(texts).batch(Batch)  # type: ignore[arg-type]
Batch(scope="user")  # type: ignore[arg-type]
