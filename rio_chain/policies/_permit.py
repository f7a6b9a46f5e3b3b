"""The objects between the engine and a policy with state: a Call goes in; a Permit or a PendingPermit comes out.

A policy decides under its own lock and never waits. The engine waits for a PendingPermit, as its executor does.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Hashable
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

from attrs import frozen

from rio_chain._renamed import names_today

Clock = Callable[[], float]
"""Seconds on the clock of the executor that runs the call."""


@frozen(kw_only=True)
class Call:
    """A call that asks a ``Gate`` for permission.

    A later version may add fields. So give them by name, also in a test of your gate.

    Attributes:
        key: the result of the gate's ``key`` function for the input. None, the default, if the gate has no ``key``.
        clock: the clock of the executor that runs the call. ``clock()`` returns seconds as a float. Their start differs
            between executors, so compare only readings of the same clock.
        priority: the ``priority=`` that the balancer got for the request: a number without a unit; higher is more
            urgent. 0, the default, without a balancer. A request that runs inside another one, without a balancer of
            its own, has the priority of the outer request.
        cost: how much of a limit the call uses. 1, the default, if the limit has no ``cost`` function.

    Example:
        >>> import time
        >>> call = Call(key="tea", clock=time.monotonic, priority=5)
        >>> call.key, call.priority
        ('tea', 5)
    """

    key: Hashable = None
    clock: Clock
    priority: float = 0
    cost: float = 1


class Permit:
    """A call that was let through. The engine calls exactly one of the three methods, once, from any thread.

    The methods of this class do nothing. That is enough for a gate that only counts how many calls begin.
    """

    __slots__ = ()

    def succeeded(self, value: Any, /) -> None:
        """The chain inside the gate has answered with ``value``."""

    def failed(self, error: Any, /) -> None:
        """The chain inside the gate has failed with ``error``: an exception, or the error value of a Failure."""

    def dropped(self) -> None:
        """The call was cancelled, or a timeout around it expired. That says nothing about the backend."""


class UserQuestion(NamedTuple):
    """A function of the user that a policy needs the answer of. ``role`` is the name of the argument it came by."""

    role: str
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    truth: bool = True
    """Whether only the truth of its answer counts."""


class AskingPermit(Permit):
    """A permit that asks functions of the user what a failure means. The engine asks them, as its executor does."""

    __slots__ = ()

    def questions(self, error: Any, /) -> Generator[UserQuestion, Any, None]:
        """In place of ``failed``: yields each question, and is sent its answer. If it is closed, it drops the call."""
        raise NotImplementedError

    def failed(self, error: Any, /) -> None:
        """As ``Permit.failed``. The functions are called here."""
        with closing(self.questions(error)) as steps, suppress(StopIteration):
            question = next(steps)
            while True:
                question = steps.send(question.fn(*question.args))


@frozen
class Answer:
    """How the call of another run ended. If it ``failed``, ``value`` is the error."""

    value: Any
    failed: bool = False


@frozen
class StaleAnswer(Answer):
    """An old answer. If there is a ``refresh``, the engine makes the call in the background, with that permit."""

    refresh: Permit | None = None


@frozen
class InjectedFault:
    """An injected fault: the call is ``delay`` seconds late, then fails with ``error`` if there is one."""

    delay: float = 0.0
    error: Exception | None = None


class PendingPermit(ABC):
    """A call that waits for its permit.

    The engine sets ``wake``, then reads ``state``. While that is "waiting", the engine waits until it is woken, or for
    ``after`` seconds if that is a number. Then it calls ``ask`` and reads ``state`` again. A wake does not mean that
    the wait is over: perhaps only ``after`` has changed.

    To let the call through, a gate sets ``permit``, then ``state = "granted"``, and then calls ``tell()``.

    Attributes:
        wake: a function of the engine that ends its wait. ``tell()`` calls it.
        state: "waiting"; "granted": go on with ``permit``; "answered": use ``answer`` and make no call; "gone": the
            call has stopped waiting.
        permit: the permit if the state is "granted", else None.
        answer: the answer if the state is "answered", else None.
        after: the engine asks again after this number of seconds. With None, it waits until ``wake`` is called.

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

    def ask(self, clock: Clock) -> None:  # noqa: B027 - most have nothing to check, as they are woken
        """Check whether the wait is over, and set ``state``. Does nothing once it is over."""

    @abstractmethod
    def quit(self) -> None:
        """Stop waiting. If a permit was granted meanwhile, it is not used and goes to the next call."""

    def tell(self) -> None:
        """Wake the call that waits. Never call it under a lock."""
        if self.wake is not None:
            self.wake()

    if not TYPE_CHECKING:

        def _no_hold(self, *_: object) -> NoReturn:
            raise AttributeError("`hold` of a PendingPermit is now `permit`")

        hold = property(_no_hold, _no_hold)  # a value set under the old name would never be read


if not TYPE_CHECKING:
    __getattr__ = names_today(__name__, {"Hold": "Permit", "Turn": "PendingPermit"})
