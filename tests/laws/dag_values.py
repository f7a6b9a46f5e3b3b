"""The values, errors and bodies of random DAGs.

A body gets its script from the recipe and its memory from the run (``RECORD``), so that it can be pickled and compared.
No two instants of a run are the same: each call takes a share of a millisecond that depends on all it knows.
"""

from __future__ import annotations

import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from attrs import field, frozen, mutable
from conformance.harness import pause, shielded
from returns.result import Failure, Success

from rio_chain import BridgeFailed, TaskTimedOut

ALWAYS = 99  # calls that fail: all


@frozen
class Val:
    """What a body gives. ``item``: for which item of which ``each``; None: nothing shows that."""

    digest: int
    item: tuple[int, ...] | None = ()


class BodyError(Exception):
    """What a body raises."""

    def __init__(self, task: int, digest: int, item: tuple[int, ...] | None) -> None:
        super().__init__(f"t{task} at {digest}")
        self.task, self.digest, self.item = task, digest, item


def said(value: Any) -> str:
    """A value or an error as text: the same for what two runs gave alike."""
    match value:
        case Val():
            text = f"v{value.digest}"
        case Success():
            text = f"+{said(value.unwrap())}"
        case Failure():
            text = f"-{said(value.failure())}"
        case dict():
            text = f"{{{', '.join(f'{key}={said(one)}' for key, one in value.items())}}}"
        case tuple() | list():
            text = f"{type(value).__name__}({', '.join(map(said, value))})"
        case TaskTimedOut():
            text = f"late {value.ms:.5f}"
        case BridgeFailed():
            text = f"bridge {said(value.error)}"
        case BodyError():
            text = f"error {value}"
        case Exception():
            text = type(value).__name__
        case _:
            text = repr(value)
    return text


def mixed(*things: Any) -> int:
    """A number that depends on all of them."""
    return zlib.crc32("/".join(map(said, things)).encode())


def share(*things: Any) -> float:
    """A share of a millisecond that nothing else has."""
    return 0.9 * mixed(*things) / 2**32


def item_of(value: Any) -> tuple[int, ...] | None:
    """The item that a value belongs to."""
    if isinstance(value, (Val, BodyError)):
        return value.item
    if isinstance(value, (Success, Failure)):
        return item_of(value.unwrap() if isinstance(value, Success) else value.failure())
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (tuple, list)) else ()
    return next((item for one in inner if (item := item_of(one)) is not None), None)


# --- what runs --------------------------------------------------------------------------------------------------


@frozen
class Event:
    """A call of a body began or ended."""

    kind: str
    task: int
    item: tuple[int, ...] | None
    call: int
    used: tuple[tuple[str, Any], ...] = ()
    value: Any = None


@mutable(eq=False)
class Record:
    """What the bodies of one run remember and tell."""

    events: list[Event] = field(factory=list)
    made: Counter[tuple[int, int]] = field(factory=Counter)
    calls: Counter[int] = field(factory=Counter)
    open_generators: int = 0
    lock: Any = field(factory=threading.Lock)

    @property
    def running(self) -> int:
        """How many bodies are in the middle of a call."""
        kinds = Counter(event.kind for event in self.events)
        return kinds["began"] - kinds["succeeded"] - kinds["failed"]


RECORD: ContextVar[Record] = ContextVar("record")


@frozen
class Script:
    """The body of a task, without the waiting."""

    task: int
    ms: int
    faults: int
    tidy: int = 0  # ms that its clean-up takes

    @contextmanager
    def call(self, value: Any, used: dict[str, Any]) -> Iterator[tuple[float, Callable[[], Val]]]:
        """One call: how long it takes, and what then comes."""
        record, digest, item = RECORD.get(), mixed(value, used), item_of(value)
        with record.lock:
            nth = record.made[self.task, digest]
            record.made[self.task, digest] += 1
            record.calls[self.task] += 1
            number = len(record.events)
            record.events.append(Event("began", self.task, item, number, tuple(used.items()), value))
        answer = Val(mixed(self.task, digest), item)
        kind = "failed"

        def end() -> Val:
            nonlocal kind
            if nth < self.faults:
                raise BodyError(self.task, digest, item)
            kind = "succeeded"
            return answer

        try:
            yield self.ms + share(self.task, digest, nth), end
        finally:
            with record.lock:
                record.events.append(Event(kind, self.task, item, number, value=answer))


@frozen
class Async(Script):
    async def __call__(self, value: Any, /, **used: Any) -> Val:
        with self.call(value, used) as (ms, end):
            try:
                await pause(ms)
            finally:
                if self.tidy:
                    await shielded(self.tidy)
            return end()


@frozen
class Sync(Script):
    """It takes no time."""

    def __call__(self, value: Any, /, **used: Any) -> Val:
        with self.call(value, used) as (_, end):
            return end()


@frozen
class Check:
    """A bridge that fails for one value in four."""

    n: int

    def __call__(self, value: Any, /) -> Val:
        digest = mixed("check", value)
        if digest % 4 == self.n:
            raise BodyError(-1, digest, item_of(value))
        return Val(digest, item_of(value))


@frozen
class Spread:
    """A bridge that makes a list of items."""

    n: int

    def __call__(self, value: Any, /) -> list[Val]:
        item, digest = item_of(value), mixed(value)
        return [Val(mixed(digest, i), None if item is None else (*item, i)) for i in range(self.n)]


@frozen
class Gather:
    """A bridge that makes one value of a list of items."""

    n: int

    def __call__(self, values: Any, /) -> Val:
        item = item_of(values)
        return Val(mixed(values), None if item is None else item[:-1])


@frozen
class Picks:
    """Whether a value is for branch ``i`` of ``n``."""

    i: int
    n: int

    def __call__(self, value: Any, /) -> bool:
        return mixed("choose", value) % self.n == self.i
