"""Gate: the base class of your own limits and breakers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import Any, cast

from attrs import field, frozen

from rio_chain._core.units import short_repr
from rio_chain.policies._permit import Call, PendingPermit, Permit
from rio_chain.policies._plain_data import Data, qualified
from rio_chain.policies._policy import Label, Policy, PolicyBounds


class Gate(ABC):
    """A limit or breaker of your own for ``.limit(...)`` and ``.breaker(...)``, such as a client of a shared limiter.

    A gate decides and never waits. Its ``enter`` gets a ``Call`` and returns one of these:

    - a ``Permit``: the call is made, and then the permit is called with its result;
    - an exception, such as ``LimitExceeded`` or ``CircuitOpen``: the call is not made and fails with it;
    - a ``PendingPermit``: the call waits, on whatever executor it runs. Meanwhile code of your own may use the network.
      To let the call begin, it sets ``pending.permit`` and ``pending.state = "granted"``, and calls ``pending.tell()``.

    An abandoned blocking call still runs. The permit is called when all such calls inside have returned, on the thread
    of the last one.

    ``explain()`` shows a gate by its ``__str__``, or by the name of its class.

    Attributes:
        key: a function of the input that returns the ``key`` of the Call. The default None makes the key None.

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
        """Let a call through, make it wait, or refuse it. Called from any thread; it must return at once."""


@frozen
class GatePolicy(Policy):
    """A gate as a policy, with the builder call that added it: ``breaker`` or ``limit``.

    This class describes the gate, so the gate itself may have attributes of any name.
    """

    variable = "gate"
    users_code = True
    held = "calls"

    gate: Gate = field(hash=False)
    builder_call: str

    @property
    def key(self) -> Callable[[Any], Hashable] | None:
        """As ``Gate.key``."""
        return self.gate.key

    def enter(self, call: Call) -> Permit | PendingPermit | Exception:
        """As ``Gate.enter``.

        Raises:
            TypeError: the gate returned something else.
        """
        got = cast("object", self.gate.enter(call))
        if isinstance(got, (Permit, PendingPermit, Exception)):
            return got
        rule = "must return a Permit, a PendingPermit or an exception"
        raise TypeError(f"`{type(self.gate).__name__}.enter` {rule}; got {short_repr(got)}")

    def label(self) -> Label:
        """As ``Policy.label``: ``breaker gate``, ``limit gate``."""
        return Label(f"{self.builder_call} gate")

    def awaited(self) -> str:
        """As ``Policy.awaited``."""
        return f"its turn at {short_repr(self.gate)}"

    def to_dict(self) -> Data:
        """As ``Policy.to_dict``."""
        return {"kind": "gate", "call": self.builder_call, "type": qualified(type(self.gate))}

    def bounds(self, _inner: float, _limit: float = math.inf, /) -> PolicyBounds:
        """As ``Policy.bounds``. A gate may make a call wait for an unknown time."""
        return PolicyBounds(math.inf)

    def __str__(self) -> str:
        kind = type(self.gate)
        plain = kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__
        try:
            text = kind.__name__ if plain else str(self.gate)
        except Exception:  # noqa: BLE001 - a user's broken __str__ must not break explain() and the pictures
            text = kind.__name__
        return f"{self.builder_call} by {text}"
