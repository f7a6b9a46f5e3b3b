"""``expand``: pieces of work that yield more work, until none is left."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterator
from typing import Any, cast

from returns.result import Success

from rio_chain.engine._ask import ask
from rio_chain.engine._current_run import Strand
from rio_chain.engine._discarded_results import close_here
from rio_chain.engine._item_runner import DROPPED, MAX_WORKERS, Condition, ItemRunner, PendingItem
from rio_chain.engine._iterables import TEXT
from rio_chain.engine._runtime_protocol import kind_of
from rio_chain.errors import LimitExceeded
from rio_chain.policies._keys import Key, of_a_run, text_of
from rio_chain.results._outcome import Failed

Found = list[tuple[Hashable, Any]]
"""Pieces of work, each after its key."""
MOST_READ = 100
PATIENCE = 0.005
"""How much of the work of one result is read before others get a turn: this number of pieces, for these seconds."""


async def run_expand(runner: ItemRunner, value: Any) -> Any:
    """Run the item runner for the value and all work that follows from it. Returns the results, level by level."""
    node = runner.op.node
    flow = Expansion(runner)
    [(key, item)] = await ask(runner.parent, "key", _Asked(node.key, None, [value], runner.parent.rt.now))
    flow.offer(key, item, 0, None)
    await runner.run(flow, min(node.limit, MAX_WORKERS))
    return Success([work.value for work in flow.by_levels(key) if work.value is not DROPPED])


class Piece(PendingItem):
    """A piece of work, and the work that it has asked for."""

    __slots__ = ("depth", "ended", "found_by", "links", "place")

    def __init__(  # noqa: PLR0917 - one call makes it
        self, number: int, item: Any, depth: int, found_by: Piece | None, place: int, key: Hashable
    ) -> None:
        super().__init__(number, item)
        self.key = key
        self.found_by, self.place = found_by, place  # the piece that asked for it first, and its position there
        self.depth = depth  # the length of the shortest known way from the first piece
        self.ended = False
        self.links: dict[Hashable, int] = {}  # the keys it asked for, in order, each once

    def __str__(self) -> str:
        """Its key, as timing decides its number and the way on which it was found first.

        A key that differs in each process has no text. Then it is that way, from the first piece.
        """
        text = text_of(self.key)
        if text is not None:
            return f"piece {text}"
        way, piece = list[str](), self
        while piece.found_by is not None:
            way.append(str(piece.place))
            piece = piece.found_by
        return f"piece {'.'.join(way)}"


class Expansion:
    """Hands out the work that has been found, the oldest first.

    Timing decides which piece asks for another first, and so by which way that is found. So a piece may learn of a
    shorter way later. Work that seems too deep is kept until no piece can show a shorter way to it.
    """

    def __init__(self, runner: ItemRunner) -> None:
        self.runner = runner
        self.node = runner.op.node
        self.waiting: deque[Piece] = deque()
        self.known: dict[Hashable, Piece] = {}
        self.beyond: dict[Hashable, Any] = {}  # work that is too deep, by the ways known so far
        self.above = 0  # pieces that have not ended, and whose finds would not be too deep
        self.running = 0
        self.over = False
        self.gate = Condition()
        runner.race.idle = self.gate.waiting
        self.lock = threading.RLock()

    def by_levels(self, root: Hashable) -> Iterator[PendingItem]:
        """All work, level by level along the shortest ways. Finds come in the order of their pieces, then their own."""
        waiting, seen = deque([root]), {root}
        while waiting:
            piece = self.known[waiting.popleft()]
            yield piece
            for key in piece.links:
                if key in self.known and key not in seen:
                    seen.add(key)
                    waiting.append(key)

    def offer(self, key: Hashable, item: Any, depth: int, found_by: Piece | None) -> bool:
        """Add work that was found. Returns False if there is no room for any new work."""
        if key in self.known:
            self._nearer(self.known[key], depth)
        elif self.node.depth is not None and depth > self.node.depth:
            if len(self.beyond) >= self.node.total and key not in self.beyond:
                return False  # if shorter ways to all of these were found, they would be too many
            self.beyond[key] = item
        elif len(self.known) >= self.node.total:
            self._limited(f"total={self.node.total}: there is more work than that")
            return False
        else:
            self.beyond.pop(key, None)
            place = 0 if found_by is None else found_by.links[key]
            self.known[key] = piece = Piece(len(self.known), item, depth, found_by, place, key)
            self.above += self._is_above(depth)
            self.waiting.append(piece)
        return True

    def _is_above(self, depth: int) -> bool:
        return self.node.depth is None or depth < self.node.depth

    def _nearer(self, piece: Piece, depth: int) -> None:
        """A shorter way to a piece is also a shorter way to all that it has asked for."""
        shorter = [(piece, depth)]
        while shorter:
            piece, depth = shorter.pop()
            if depth >= piece.depth:
                continue
            self.above += not piece.ended and self._is_above(depth) and not self._is_above(piece.depth)
            piece.depth = depth
            for key in piece.links:
                if key in self.known:
                    shorter.append((self.known[key], depth + 1))
                elif key in self.beyond:
                    self.offer(key, self.beyond[key], depth + 1, piece)

    async def take(self, strand: Strand) -> PendingItem | None:
        """As ``ItemFlow.take``."""
        while True:
            with self.lock:
                if self.waiting and not self.over:
                    self.running += 1
                    return self.waiting.popleft()
                if self.over or not self.running:
                    self.stop()
                    return None
                waiter = self.gate.enter(strand)
            strand.idles()
            await waiter.wait()

    def more(self, strand: Strand) -> PendingItem | None:  # noqa: ARG002 - of the interface
        """As ``ItemFlow.more``."""
        with self.lock:
            if self.over or not self.waiting:
                return None
            self.running += 1
            return self.waiting.popleft()

    async def done(self, strand: Strand, work: PendingItem, got: Any) -> None:
        """As ``ItemFlow.done``."""
        if not isinstance(work, Piece):
            raise TypeError("`done` takes only a piece that this expansion handed out")
        if type(got) is not Failed:
            await self._read(strand, work, got)
        with self.lock:
            self.running -= 1
            work.ended = True
            self.above -= self._is_above(work.depth)
            if self.beyond and not self.above:
                self._limited(f"depth={self.node.depth}: there is more work below that")
            self.gate.open()

    async def _read(self, strand: Strand, piece: Piece, result: Any) -> None:
        """Add the work that a result asks for. It may be endless: it is read in portions, while there is room."""
        asked = _Asked(self.node.key, self.node.more, result, strand.rt.now)
        role = "key" if self.node.more is None else "more"
        try:
            while self._took(piece, await ask(strand, role, asked)) and not asked.over and not self.over:
                await strand.rt.sleep(0)
            if asked.leave():
                await ask(strand, role, asked)
        except BaseException:
            close_here([asked.iterator] if asked.leave() else [])
            raise

    def _took(self, piece: Piece, found: Found) -> bool:
        """Give this work to the workers that wait. Returns False if there is no room for more."""
        with self.lock:
            before = len(self.waiting)
            for key, item in found:
                piece.links.setdefault(key, len(piece.links))
                if not self.offer(key, item, piece.depth + 1, piece):
                    return False
            self.gate.open(len(self.waiting) - before)
        return True

    def _limited(self, rule: str) -> None:
        if self.node.on_limit == "raise":
            self.runner.fail(LimitExceeded(f"{self.runner.op.joint.name} has reached {rule}"))

    def stop(self) -> None:
        """As ``ItemFlow.stop``."""
        with self.lock:
            self.over = True
            self.gate.open()


class _Asked:
    """The work that a result asks for. It is read where users' functions are called, a portion with each call."""

    def __init__(self, key: Key, more: Callable[[Any], Any] | None, result: Any, now: Callable[[], float]) -> None:
        self.key = key
        self.more = more
        self.result = result
        self.now = now
        self.iterator: Iterator[Any] | None = None  # before the first call
        self.over = False  # all is read
        self.left = False  # the rest will not be read
        self.__name__ = "the result itself" if more is None else getattr(more, "__name__", type(more).__name__)

    def __call__(self) -> Found:
        """The next pieces. If the rest is not wanted: none, and a generator runs its clean-up."""
        read = cast("Any", self.iterator)
        if self.left and isinstance(read, Generator):
            cast("Generator[Any]", read).close()
            return []
        until = self.now() + PATIENCE
        if self.iterator is None:
            self.iterator = self._begun()
        found: Found = []
        for item in self.iterator:
            found.append((of_a_run(self.key(item)), item))
            if len(found) >= MOST_READ or self.now() >= until:
                return found
        self.over = True
        return found

    def _begun(self) -> Iterator[Any]:
        found: Any = self.result if self.more is None else self.more(self.result)
        if found is None:
            return iter(())
        if isinstance(found, TEXT) or not hasattr(kind_of(found), "__iter__"):
            raise TypeError(
                f"`expand` needs an iterable of more work, or None; got a value of type {kind_of(found).__name__}"
            )
        return iter(found)

    def leave(self) -> bool:
        """The rest will not be read. Returns True for a generator that has to be closed."""
        self.left = True
        return not self.over and isinstance(self.iterator, Generator)
