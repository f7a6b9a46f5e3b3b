"""Gate: a limit or a breaker of your own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import Any

from rio_chain.policies.hold import Clock, Hold, Turn


class Gate(ABC):
    """What may stand in ``.limit(...)`` and ``.breaker(...)`` in place of ours: a client of a shared limiter, say.

    It decides and never waits. ``enter`` gives a ``Hold``: the call is in, and the hold is told how it ended; or an
    exception, such as ``LimitExceeded`` or ``CircuitOpen``: the call is not made and fails with that; or a ``Turn``:
    the call waits, on whatever executor it runs, until the turn is told to wake or its time to ask again has come.
    What needs the network goes on elsewhere meanwhile, and calls ``turn.tell()`` when it knows.

    A blocking call that is abandoned runs on. The hold is told how the call ended when all such calls inside have
    returned, on the thread of the last one.

    Attributes:
        key: a function of the input whose value ``enter`` gets; None: it gets None.

    Example:
        >>> class Ticks(Gate):
        ...     def __init__(self, left):
        ...         self.left = left
        ...
        ...     def enter(self, key, clock):
        ...         self.left -= 1
        ...         return Hold() if self.left >= 0 else LimitExceeded("no more today")
        >>> from rio_chain import Hold, LimitExceeded, Task
        >>> chain = Task(len).limit(Ticks(1))
        >>> chain("tea").run().unwrap(), chain("tea").run().result.failure()
        (3, LimitExceeded('no more today'))
    """

    key: Callable[[Any], Hashable] | None = None

    @abstractmethod
    def enter(self, key: Hashable, clock: Clock) -> Hold | Turn | Exception:
        """Let a call in, put it in line, or refuse it. Quick, and from any thread; ``clock`` gives seconds."""
