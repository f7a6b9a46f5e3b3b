"""A state for each key of a policy: of bounded number, and forgotten when its key is not used any more."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from itertools import islice
from typing import Generic, TypeVar

State = TypeVar("State")

_LOOKS = 8  # to make room, this many of the least recently used states are asked whether they are needed


class KeyedStates(Generic[State]):
    """The states by key, in the order of their last use. The owner holds its lock around each call.

    Args:
        make: makes the state of a new key.
        most: at most this many are kept. For one more, the least recently used one is forgotten.
        idle: seconds; a state that was not used for this long is forgotten when new keys come.
        needed: a state that is not idle although no call uses it, such as that of an open breaker. It is kept as long
            as there is room.
    """

    def __init__(
        self, make: Callable[[], State], most: int, idle: float, needed: Callable[[State], bool] = lambda _: False
    ) -> None:
        self._make = make
        self._most = most
        self._idle = idle
        self._needed = needed
        self._kept: OrderedDict[Hashable, tuple[State, float]] = OrderedDict()  # the last used is at the end

    def get(self, key: Hashable, now: float) -> State:
        """The state of a key, which is used now. If it is unknown, it gets a new state."""
        kept = self._kept.get(key)
        if kept is None:
            self._make_room(now)
            state = self._make()
        else:
            state = kept[0]
        self._kept[key] = state, now
        self._kept.move_to_end(key)
        return state

    def find(self, key: Hashable) -> State | None:
        """The state of a key, without using it. None if it is unknown."""
        kept = self._kept.get(key)
        return None if kept is None else kept[0]

    def __iter__(self) -> Iterator[State]:
        return iter([state for state, _ in list(self._kept.values())])

    def __len__(self) -> int:
        return len(self._kept)

    def _make_room(self, now: float) -> None:
        for key in list(islice(self._kept, 2)):  # for each new key, check the two that were used least recently
            kept = self._kept.get(key)
            if kept is None or now - kept[1] < self._idle:
                break
            if self._needed(kept[0]):
                self._kept.move_to_end(key)
            else:
                del self._kept[key]
        while len(self._kept) >= self._most:
            oldest = list(islice(self._kept.items(), _LOOKS))
            self._kept.pop(next((key for key, kept in oldest if not self._needed(kept[0])), oldest[0][0]), None)
