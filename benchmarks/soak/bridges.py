"""What is between the tasks: bridges, sources of items, predicates, keys."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from attrs import frozen

from benchmarks.soak.bodies import WHO
from benchmarks.soak.ledger import CHILD, MODULO, Fault
from benchmarks.soak.loops import pause
from rio_chain import current_attempt


def first_of(value: Any) -> int | None:
    """The number in what a join hands on."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else (value,)
    for one in inner:
        found = one.value_or(None) if hasattr(one, "value_or") else one
        found = first_of(found) if isinstance(found, (tuple, list, dict)) else found
        if found is not None:
            return int(found) % CHILD
    return None


def narrow(value: Any) -> int | None:
    """One number of what a join hands on; fails for one request in fifty."""
    got = first_of(value)
    if got is not None and zlib.crc32(str(got).encode()) % 50 == 0:
        raise Fault(got)
    return got


@frozen
class Spread:
    """A list of so many items."""

    n: int

    def __call__(self, value: int | None, /) -> list[int | None]:
        return [value] * self.n


def plain_source(value: int | None) -> Iterator[int | None]:
    """Items one by one; the third of some does not come."""
    for number in range(4):
        if value is not None and (value + number) % 23 == 0:
            raise Fault(value)
        yield value


async def async_source(value: int | None) -> AsyncIterator[int | None]:
    """The same, slowly."""
    for one in plain_source(value):
        await pause(0.2)
        yield one


@frozen
class Children:
    """What a piece of work asks for: two more, for so many levels."""

    levels: int

    def __call__(self, value: int | None, /) -> list[int]:
        number, base = divmod(value or 0, CHILD)
        if value is None or number >= 2 ** (self.levels - 1) - 1:
            return []
        return [base + CHILD * (2 * number + branch) for branch in (1, 2)]  # numbered as a heap is


@frozen
class Picks:
    """Whether a value is for this branch of ``n``."""

    i: int
    n: int

    def __call__(self, value: int | None, /) -> bool:
        return (value or 0) // 3 % self.n == self.i


def agrees(value: int | None) -> bool:
    """Says no to one answer in ten, and fails at one in fifty."""
    draw = zlib.crc32(f"accept {value} {int(current_attempt())}".encode()) % 50
    if draw == 0:
        raise Fault(value)
    return draw not in range(1, 6)


def score(value: int | None) -> float:
    """How good an answer is."""
    return (value or 0) % 7


def shared_key(value: int | None) -> int:
    """Requests under the same key may get each other's answers."""
    return (WHO.get() if value is None else value) % MODULO
