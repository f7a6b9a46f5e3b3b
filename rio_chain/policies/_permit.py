"""What a policy with state gets from the engine, a Call, and gives back: a Permit, a PendingPermit or an error.

A policy decides under a lock of its own and never waits. The engine waits with a PendingPermit, as its executor does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from attrs import frozen

from rio_chain._renamed import names_today

Clock = Callable[[], float]
"""Seconds on the clock of the executor that asks."""


@frozen(kw_only=True)
class Call:
    """A call that asks a ``Gate`` to be let in.

    A later version may add fields. So they are given by name only, also in a test of your gate.

    Attributes:
        key: what the gate's ``key`` function made of the input. None, the default: the gate has no such function.
        clock: the clock of the executor that runs the call. ``clock()`` gives seconds as a float, from a start that
            differs between executors: compare two readings of one clock only.
        priority: the ``priority=`` that the balancer was given for the request: a number without a unit, higher is
            more urgent. 0, the default, without a balancer. A request that runs inside another one, without a
            balancer of its own, has the priority of that one.

    Example:
        >>> import time
        >>> call = Call(key="tea", clock=time.monotonic, priority=5)
        >>> call.key, call.priority
        ('tea', 5)
    """

    key: Hashable = None
    clock: Clock
    priority: float = 0


class Permit:
    """A call that was let in. The engine calls exactly one of the three methods, once, from any thread.

    This class does nothing when they are called. That is right for a gate that only counts how many calls begin.
    """

    __slots__ = ()

    def succeeded(self, value: Any, /) -> None:
        """What the gate wraps has answered with ``value``."""

    def failed(self, error: Any, /) -> None:
        """What the gate wraps has failed with ``error``: an exception, or the error value of a returned Failure."""

    def dropped(self) -> None:
        """The call was cancelled, or a limit around it was over. That says nothing about the backend."""


@frozen
class Answer:
    """How the call of another run ended: ``value`` is the error where it ``failed``."""

    value: Any
    failed: bool = False


@frozen
class InjectedFault:
    """What happens to one call on purpose: it is ``delay`` seconds late, then fails with ``error`` if there is one."""

    delay: float = 0.0
    error: Exception | None = None


class PendingPermit(ABC):
    """A call that waits to be let in.

    The engine sets ``wake``, then reads ``state``. While that is "waiting" it waits until it is woken, or for
    ``after`` seconds where that is a number. Then it calls ``ask`` and reads ``state`` again. A wake promises nothing:
    perhaps only ``after`` has changed.

    A gate that lets the call in sets ``permit``, then ``state = "granted"``, and then calls ``tell()``.

    Attributes:
        wake: the engine's function that ends its wait. ``tell()`` calls it.
        state: "waiting"; "granted": go on with ``permit``; "answered": there is an ``answer`` and no call is to be
            made; "gone": the call has left the line.
        permit: the permit once it was granted, else None.
        answer: the answer once it was answered, else None.
        after: the seconds after which it makes sense to ask; None: wait for a wake.

    Example:
        >>> class Waiting(PendingPermit):
        ...     def quit(self):
        ...         self.state = "gone"
        >>> pending = Waiting()
        >>> pending.state, pending.permit
        ('waiting', None)
    """

    __slots__ = ("after", "answer", "permit", "state", "wake")

    def __init__(self) -> None:
        self.wake: Callable[[], None] | None = None
        self.state: Literal["waiting", "granted", "answered", "gone"] = "waiting"
        self.permit: Permit | None = None
        self.answer: Answer | None = None
        self.after: float | None = None

    def ask(self, clock: Clock) -> None:  # noqa: B027 - most have nothing to look at: they are woken
        """Look whether the wait is over. Does nothing when it is."""

    @abstractmethod
    def quit(self) -> None:
        """Leave the line. A permit that was granted meanwhile, and is not used, goes to the next one."""

    def tell(self) -> None:
        """Wake the call that waits. Never call it under a lock."""
        if self.wake is not None:
            self.wake()

    if not TYPE_CHECKING:

        def _no_hold(self, *_: object) -> NoReturn:
            raise AttributeError("`hold` of a PendingPermit is now `permit`")

        hold = property(_no_hold, _no_hold)  # a value that is set under the old name would never be read


if not TYPE_CHECKING:
    __getattr__ = names_today(__name__, {"Hold": "Permit", "Turn": "PendingPermit"})
