"""``expand``: work that yields more work, until none is left."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from typing import Any

from returns.result import Success

from rio_chain.engine.apply import Failed, ask
from rio_chain.engine.crowd import DROPPED, Crowd, Gate, Work
from rio_chain.engine.current import Strand
from rio_chain.engine.runtime import kind_of
from rio_chain.errors import LimitExceeded
from rio_chain.policies.keys import Key

TEXT: tuple[type, ...] = (str, bytes, bytearray, memoryview)
Found = list[tuple[Hashable, Any]]
"""Pieces of work, each after the key it is known by."""


async def expand(crowd: Crowd, value: Any) -> Any:
    """Run the crowd for the value and all that follows from it; the list of what came out, level by level."""
    node = crowd.op[2]
    flow = Expansion(crowd)
    [(key, item)] = await ask(crowd.parent, "key", _Keyed(node.key), [value])
    root = flow.begin(key, item)
    await crowd.run(flow, node.limit)
    return Success([work.value for work in _by_levels(root) if work.value is not DROPPED])


def _by_levels(root: Work) -> Iterator[Work]:
    waiting = deque([root])
    while waiting:
        work = waiting.popleft()
        yield work
        waiting.extend(work.children)


class Expansion:
    """Hands out the work that has been found, the oldest first."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.node = crowd.op[2]
        self.waiting: deque[Work] = deque()
        self.seen: set[Hashable] = set()
        self.found = self.running = 0
        self.over = False
        self.gate = Gate()
        self.lock = threading.RLock()

    def begin(self, key: Hashable, item: Any) -> Work:
        """The first piece of work."""
        self.seen.add(key)
        return self._add(item, 0)

    def _add(self, item: Any, depth: int) -> Work:
        work = Work(self.found, item, depth)
        self.found += 1
        self.waiting.append(work)
        return work

    async def take(self, strand: Strand) -> Work | None:
        """As ``Flow.take``."""
        while True:
            with self.lock:
                if self.over or (not self.waiting and not self.running):
                    self.stop()
                    return None
                if self.waiting:
                    self.running += 1
                    return self.waiting.popleft()
                waiter = self.gate.enter(strand)
            await waiter.wait()

    async def done(self, strand: Strand, work: Work, got: Any) -> None:
        """As ``Flow.done``."""
        found: Found = [] if type(got) is Failed else await self._more(strand, got)
        with self.lock:
            self.running -= 1
            for key, item in found:
                if key not in self.seen and self._fits(work.depth + 1):
                    self.seen.add(key)
                    work.children.append(self._add(item, work.depth + 1))
            self.gate.open()

    async def _more(self, strand: Strand, result: Any) -> Found:
        """The work that a result asks for. The user's functions are called in one go."""
        more = self.node.more
        asked = _Keyed(self.node.key, more)
        found: Found = await ask(strand, "more" if more is not None else "key", asked, result)
        return found

    def _fits(self, depth: int) -> bool:
        """Whether one more piece of work may be done there."""
        node = self.node
        if node.depth is not None and depth > node.depth:
            rule = f"depth={node.depth}: there is work on level {depth}"
        elif self.found >= node.total:
            rule = f"total={node.total}: there is more work than that"
        else:
            return True
        if node.on_limit == "raise":
            self.crowd.fail(LimitExceeded(f"{self.crowd.op[3].name} has reached {rule}"))
        return False

    def stop(self) -> None:
        """As ``Flow.stop``."""
        with self.lock:
            self.over = True
            self.gate.open()


class _Keyed:
    """What users' functions make of a result: the work in it, and the keys of that."""

    def __init__(self, key: Key, more: Callable[[Any], Any] | None = None) -> None:
        self.key = key
        self.more = more
        self.__name__ = "the result itself" if more is None else getattr(more, "__name__", type(more).__name__)

    def __call__(self, result: Any) -> Found:
        """Called in the guarded place."""
        found: Any = result if self.more is None else self.more(result)
        if found is None:
            return []
        if isinstance(found, TEXT) or not hasattr(kind_of(found), "__iter__"):
            raise TypeError(
                f"`expand` needs an iterable of more work, or None; got a value of type {kind_of(found).__name__}"
            )
        return [(self.key(item), item) for item in found]
