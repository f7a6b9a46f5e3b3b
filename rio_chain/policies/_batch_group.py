"""The calls that become one call of a batch, and how its answer becomes theirs. Nothing here waits or locks."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Literal, cast

from attrs import frozen
from returns.result import Failure, Success

from rio_chain.errors import BatchMismatch
from rio_chain.policies._keys import as_given
from rio_chain.policies._permit import Answer

if TYPE_CHECKING:
    from rio_chain.policies._batch import Batch

_MISSING = object()
_type_of = cast("Callable[[object], type[object]]", type)  # and not what a value says of itself
_get = cast("Callable[[object, Hashable, object], object]", dict[Any, Any].get)
_len = cast("Callable[[object], int]", dict[Any, Any].__len__)
_copy = cast("Callable[[object], list[object]]", list[Any].copy)


class BatchedCall:
    """One call that waits for its part of the answer.

    Attributes:
        state: "waiting"; "answered": there is an ``answer``; "lost": the call of all has ended without one; "gone": it
            waits no longer.
        wake: what ends its wait, called when the state has changed.
        leads: the call of all is in its record.
        parked_at: where its strand is parked, for the engine.
    """

    __slots__ = ("answer", "caller", "deadline", "group", "item", "key", "leads", "parked_at", "state", "wake")

    group: BatchGroup

    def __init__(self, key: Hashable, item: Any, caller: Any, deadline: float) -> None:
        self.key = key
        self.item = item
        self.caller = caller
        self.deadline = deadline
        self.state: Literal["waiting", "answered", "lost", "gone"] = "waiting"
        self.answer: Answer | None = None
        self.wake: Callable[[], None] | None = None
        self.leads = False
        self.parked_at: Any = None


class BatchGroup:
    """The calls that become one.

    Attributes:
        place: calls with an equal one join it.
        until: when it waits no longer for others.
        due: it does not even wait so long.
        joined: how many calls have joined it.
        keys: what is asked for, in the order in which it was, and the calls that wait for it.
        work: what the engine has begun for it.
    """

    __slots__ = ("batch", "due", "joined", "keys", "place", "sent", "until", "work")

    def __init__(self, batch: Batch, place: Hashable, until: float) -> None:
        self.batch = batch
        self.place = place
        self.until = until
        self.due = False
        self.joined = 0
        self.keys: dict[Hashable, dict[BatchedCall, None]] = {}
        self.sent: tuple[Hashable, ...] = ()
        self.work: Any = None

    @property
    def calls(self) -> list[BatchedCall]:
        """Those that wait."""
        return [call for calls in self.keys.values() for call in calls]

    def add(self, call: BatchedCall) -> None:
        """A call joins."""
        call.group = self
        self.joined += 1
        self.keys.setdefault(call.key, {})[call] = None

    def send(self) -> list[Any]:
        """The call is made: the items, one for each key."""
        self.due = True
        self.sent = tuple(self.keys)
        return [next(iter(calls)).item for calls in self.keys.values()]

    def end(self, answers: Mapping[Hashable, Answer]) -> list[BatchedCall]:
        """Give each call its part of the answer. One that finds none is lost."""
        keys, self.keys = self.keys, {}
        ended: list[BatchedCall] = []
        for key, calls in keys.items():
            for call in calls:
                call.answer = answers.get(key)
                call.state = "lost" if call.answer is None else "answered"
                ended.append(call)
        return ended

    def leave(self, call: BatchedCall) -> bool:
        """A call waits no longer. Returns True if no call waits. A key for which no call waits is not asked for."""
        call.state = "gone"
        calls = self.keys[call.key]
        del calls[call]
        if not calls:
            del self.keys[call.key]
        return not self.keys


@frozen
class Ending:
    """How the call of a batch ended: the value that ``task`` has answered, or the error with which it ``failed``."""

    task: str
    value: Any
    failed: bool = False

    def answers(self, keys: Sequence[Hashable]) -> list[Answer]:
        """The answer for each of the keys."""
        if self.failed:
            return [Answer(self.value, failed=True)] * len(keys)
        many = len(keys)
        kind = _type_of(self.value)
        if issubclass(kind, dict):
            missing = BatchMismatch(self.task, many, _len(self.value), "dict", missing=True)
            found = [_under(self.value, as_given(key)) for key in keys]
            return [Answer(missing, failed=True) if value is _MISSING else self._answer(value, many) for value in found]
        if not issubclass(kind, list):
            error = BatchMismatch(self.task, many, None, kind.__name__)
        else:
            values = _copy(self.value)
            if len(values) == many:
                return [self._answer(value, many) for value in values]
            error = BatchMismatch(self.task, many, len(values), "list")
        return [Answer(error, failed=True)] * many

    def _answer(self, value: Any, keys: int) -> Answer:
        """That of one key. Several callers may get it, so it can't be something that only one of them could await."""
        kind = _type_of(value)
        if issubclass(kind, Success):
            return Answer(value.unwrap())
        if issubclass(kind, Failure):
            return Answer(value.failure(), failed=True)
        if hasattr(kind, "__await__"):
            if kind is CoroutineType:
                value.close()  # else Python says that it was never awaited
            return Answer(BatchMismatch(self.task, keys, keys, kind.__name__), failed=True)
        return Answer(value, failed=issubclass(kind, BaseException))


def _under(found: object, key: Hashable) -> object:
    """What is in the dict under a key. One that can't be compared any more is not there."""
    try:
        return _get(found, key, _MISSING)
    except Exception:  # noqa: BLE001 - of the user's key
        return _MISSING
