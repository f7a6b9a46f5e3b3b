"""Gate: a limit or a breaker of your own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import Any

from rio_chain.policies._permit import Call, PendingPermit, Permit


class Gate(ABC):
    """A limit or a breaker of your own for ``.limit(...)`` and ``.breaker(...)``: a client of a shared limiter, say.

    A gate decides and never waits. Its ``enter`` gets a ``Call`` and returns one of these:

    - a ``Permit``: the call is made, and the permit learns how it ended;
    - an exception, such as ``LimitExceeded`` or ``CircuitOpen``: the call is not made and fails with it;
    - a ``PendingPermit``: the call waits, on whatever executor it runs, until it is woken or its time to ask again
      has come. What needs the network is done elsewhere meanwhile, and calls ``pending.tell()`` when it knows.

    A blocking call that is abandoned runs on. The permit learns how the call ended when all such calls inside have
    returned, on the thread of the last one.

    Attributes:
        key: a function of the input; its value is the ``key`` of the Call. None, the default: that is None.

    Example:
        >>> class Ticks(Gate):
        ...     def __init__(self, left):
        ...         self.left = left
        ...
        ...     def enter(self, call):
        ...         self.left -= 1
        ...         return Permit() if self.left >= 0 else LimitExceeded("no more today")
        >>> from rio_chain import LimitExceeded, Permit, Task
        >>> chain = Task(len).limit(Ticks(1))
        >>> chain("tea").run().unwrap(), chain("tea").run().result.failure()
        (3, LimitExceeded('no more today'))
    """

    key: Callable[[Any], Hashable] | None = None

    @abstractmethod
    def enter(self, call: Call) -> Permit | PendingPermit | Exception:
        """Let a call in, make it wait, or refuse it. The engine calls this from any thread; it must return at once."""
