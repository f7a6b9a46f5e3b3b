"""Batch: calls that come at the same time become one call, which gets their inputs as a list."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, Self, get_args

from rio_chain._core.deferring_lock import DeferringLock
from rio_chain._core.forks import after_fork, keep_alive
from rio_chain._core.units import Duration, count, format_duration, seconds, short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies._batch_group import BatchedCall, BatchGroup, Ending
from rio_chain.policies._keys import key_of
from rio_chain.policies._permit import Answer
from rio_chain.policies._plain_data import Data, ms, number
from rio_chain.policies._plain_data import key as plain_key
from rio_chain.policies._policy import Facts, Label, Policy, PolicyBounds
from rio_chain.policies._shared_state import Shared

_FACTS = Facts(shares=True)
BatchScope = Literal["request", "shared"]

OPENED: ContextVar[tuple[OpenedBatch, ...]] = ContextVar("rio_chain_opened_batches", default=())
"""The blocks of ``with batch.open():`` around the code that asks."""


class OpenedBatch:
    """One block of ``with batch.open():``. Calls in it join each other, and no others."""

    __slots__ = ("batch", "open")

    def __init__(self, batch: object) -> None:
        self.batch = batch
        self.open = True


class OpenGroups(DeferringLock):
    """The groups that take further calls, by their places, and the lock for all decisions about them."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: dict[Hashable, BatchGroup] = {}

    def mend(self) -> None:
        """As ``DeferringLock.mend``: a group for which nothing was begun takes no calls, as they would wait alone."""
        self.groups = {place: group for place, group in self.groups.items() if group.work is not None}


class Batch(Shared, Policy):
    """Joins calls that come within ``wait`` into one call of the chain to the left, with a list of their inputs.

    That chain returns a list with one value for each input, in their order, or a dict by input. A value may be a
    ``Result``. An exception in place of a value is a failure of the call with that input only. Equal inputs are in the
    list once. Nothing is kept: to keep values, put a ``.cache`` around the batch.

    Args:
        size: the most inputs of one call. When there are this many, the call is made at once. Default 100.
        wait: how long the first input waits for others; milliseconds or a ``timedelta``, 0 or more. Default 2. The call
            is made earlier if no other part of the run can add an input.
        key: a function of the input that returns its key. Inputs with equal keys are asked for once. Default: the
            input itself, which must be hashable. A dict that the chain returns must have these keys.
        scope: which calls join. With ``"request"``, the default, those of one outermost run, or of one ``with
            batch.open():``. With ``"shared"``, those of all runs of one event loop, and on threads of one process. The
            one call then runs with the context variables of the first caller, and the others get its values.

    Raises:
        ChainDefinitionError: an argument is out of its range or of the wrong kind.

    Example:
        >>> Batch(size=50)
        <Batch of up to 50 by the input, within 2 ms, of one request: 0 calls for 0 keys, 0 wait>
    """

    builder_call = "batch"

    def __init__(
        self,
        size: int = 100,
        wait: Duration = 2,
        key: Callable[..., Hashable] | None = None,
        scope: BatchScope = "request",
    ) -> None:
        self.gathers = count(size, "size", least=1)
        self.wait = seconds(wait, "wait", zero=True)
        self.key = key_of(key)
        if scope not in get_args(BatchScope):
            raise ChainDefinitionError(f"`scope` must be 'request' or 'shared'; got {short_repr(scope)}")
        self.shared = scope == "shared"
        self._origin: object = self  # the one that was opened, also for a fresh copy
        self._lock = OpenGroups()
        self._waiting = self._made = self._asked = 0
        after_fork(self._renew)

    # --- which calls join each other ----------------------------------------------------------------------------

    @contextmanager
    def open(self) -> Generator[None]:
        """The calls in this block join, and no others. Use it for one operation of one user, such as a GraphQL query.

        It is for code that awaits several requests itself. The calls of one run join without it. The block applies to
        the context in which you enter it, and to tasks that are started there.

        Example:
            >>> import asyncio
            >>> from rio_chain import Batch, Task
            >>> batch, asked = Batch(), []
            >>> def fetch_many(ids: list[int]) -> list[str]:
            ...     asked.append(ids)
            ...     return [f"user {id}" for id in ids]
            >>> user = Task(fetch_many).batch(batch)
            >>> async def operation() -> None:
            ...     with batch.open():
            ...         await asyncio.gather(user(1), user(2))
            >>> asyncio.run(operation())
            >>> asked
            [[1, 2]]
        """
        opened = OpenedBatch(self._origin)
        OPENED.set((*OPENED.get(), opened))
        try:
            yield
        finally:
            opened.open = False
            OPENED.set(tuple(one for one in OPENED.get() if one.open))

    def opened(self) -> OpenedBatch | None:
        """The innermost of these blocks around the code that asks."""
        for one in reversed(OPENED.get()):
            if one.open and one.batch is self._origin:
                return one
        return None

    # --- decisions ----------------------------------------------------------------------------------------------

    def join(
        self, place: Hashable, key: Hashable, item: Any, *, caller: Any, deadline: float, now: float
    ) -> tuple[BatchedCall, bool]:
        """A call asks for an item. Returns the call, and whether it is the first of its group, which begins the strand.

        Args:
            place: calls with equal places join each other.
            key: calls with equal keys get the same answer.
            item: what the function gets for this key.
            caller: the code that asks.
            deadline: until when the call waits, in seconds on its clock.
            now: the present time on that clock.
        """
        return self._lock.decide(self._join, place, BatchedCall(key, item, caller, deadline), now)

    def _join(self, place: Hashable, call: BatchedCall, now: float) -> tuple[BatchedCall, bool]:
        group = self._lock.groups.get(place)
        first = group is None
        if group is None:
            group = self._lock.groups[place] = BatchGroup(self, place, now + self.wait)
        group.add(call)
        self._waiting += 1
        if len(group.keys) >= self.gathers:
            del self._lock.groups[place]
            group.due = True
        return call, first

    def hurry(self, group: BatchGroup) -> None:
        """Make the call of this group now, as no other call could join it."""
        group.due = True

    def send(self, group: BatchGroup) -> list[Any] | None:
        """The items of the call that is made now, or None if no caller waits. Further calls begin another group."""
        return self._lock.decide(self._send, group)

    def _send(self, group: BatchGroup) -> list[Any] | None:
        self._close(group)
        items = group.send()
        if not items:
            return None
        self._made += 1
        self._asked += len(items)
        return items

    def end(self, group: BatchGroup, ending: Ending | None) -> list[BatchedCall]:
        """The call has ended; ``ending`` is None if it has no answer. Returns the calls that waited, with answers."""
        answers = None if ending is None else dict(zip(group.sent, ending.answers(group.sent), strict=True))
        return self._lock.decide(self._end, group, answers)

    def _end(self, group: BatchGroup, answers: Mapping[Hashable, Answer] | None) -> list[BatchedCall]:
        self._close(group)
        ended = group.end(answers or {})
        self._waiting -= len(ended)
        return ended

    def leave(self, call: BatchedCall) -> bool:
        """A call waits no longer. Returns True if it was the last one: then the call of the group is not needed."""
        if self._lock.defer(lambda: self._left(call)):
            return False
        return self._lock.decide(self._leave, call)

    def _left(self, call: BatchedCall) -> None:
        """The garbage collector ended the call during a decision, so no code can stop the call of the group."""
        self._lock.decide(self._leave, call)

    def _leave(self, call: BatchedCall) -> bool:
        if call.state != "waiting":
            return False
        self._waiting -= 1
        last = call.group.leave(call)
        if last:
            self._close(call.group)
        return last

    def _close(self, group: BatchGroup) -> None:
        if self._lock.groups.get(group.place) is group:
            del self._lock.groups[group.place]

    def _renew(self) -> None:
        """In a forked child: the calls of before go on in the parent alone."""
        keep_alive(self._lock.groups)
        self._lock.groups, self._waiting = {}, 0

    def fresh(self) -> Self:
        """As ``Policy.fresh``. A block of ``open()`` is for it, too."""
        other = super().fresh()
        other._origin = self._origin  # noqa: SLF001 - of this very class
        return other

    # --- what it says of itself ---------------------------------------------------------------------------------

    def label(self) -> Label:
        """As ``Policy.label``."""
        return Label(f"batch {self.gathers}", "share")

    def awaited(self) -> str:
        """As ``Policy.awaited``."""
        return f"the call that it is a part of: {self!r}"

    def to_dict(self) -> Data:
        """As ``Policy.to_dict``."""
        return {
            "kind": "batch",
            "size": number(self.gathers),
            "wait_ms": ms(self.wait),
            "key": plain_key(self.key),
            "scope": "shared" if self.shared else "request",
        }

    def bounds(self, inner: float, _limit: float = float("inf"), /) -> PolicyBounds:
        """As ``Policy.bounds``."""
        return PolicyBounds(self.wait + inner)

    def facts(self) -> Facts:
        """As ``Policy.facts``."""
        return _FACTS

    def __repr__(self) -> str:
        made, asked, waiting = self._lock.decide(self._counts)
        return f"<Batch of {self._terms()}: {made} calls for {asked} keys, {waiting} wait>"

    def _counts(self) -> tuple[int, int, int]:
        return self._made, self._asked, self._waiting

    def _terms(self) -> str:
        whose = "of all requests" if self.shared else "of one request"
        return f"up to {self.gathers} by {self.key!r}, within {format_duration(self.wait)}, {whose}"

    def __str__(self) -> str:
        return f"batch of {self._terms()}"
