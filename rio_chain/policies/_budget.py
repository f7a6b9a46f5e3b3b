"""Budget: how many extra attempts there may be beside the first ones. It keeps a slow backend from being stormed."""

from __future__ import annotations

import threading
from typing import Any

from rio_chain._core.forks import after_fork, renewed
from rio_chain._core.units import count, number
from rio_chain.policies._number_format import exact_number
from rio_chain.policies._permit import Call, Permit
from rio_chain.policies._plain_data import Data
from rio_chain.policies._plain_data import number as plain_number
from rio_chain.policies._policy import Facts, Policy
from rio_chain.policies._shared_state import Shared

_ROUNDING = 1e-9  # 0.29 * 100 is 28.999999999999996


_FACTS = Facts(bounds_extras=True)


class Budget(Shared, Policy):
    """Retries and hedges in flight, together, are at most ``ratio`` of the executions in flight, or ``floor``.

    It is shared by all chains that are given it. There is no clock in it, so it works the same on every executor.
    It is asked when a retry or hedge begins: a retry that waits for its backoff is not in flight.
    One that is denied changes nothing for the attempts that run: a hedge is not started, a retry gives its last error.

    Args:
        ratio: extra attempts for each execution in flight; 0 or more. Default 0.2.
        floor: so many extra attempts are always allowed. Default 3.

    Raises:
        ChainDefinitionError: an argument out of its range.

    Example:
        >>> budget = Budget(0.2, floor=1)
        >>> first, second = budget.extra(), budget.extra()
        >>> second is None, budget
        (True, <Budget 20 %, at least 1: 1 extra on 0 executions in flight, 1 denied>)
    """

    builder_call = "budget"

    def __init__(self, ratio: float = 0.2, floor: int = 3) -> None:
        self._ratio = number(ratio, "ratio", least=0)
        self._floor = count(floor, "floor")
        self._lock = threading.RLock()
        self._flying = _Flying()
        self._denied = 0
        after_fork(self._renew)

    def enter(self, _call: Call, /) -> _Flight:
        """As ``execution``."""
        return self.execution()

    def execution(self) -> _Flight:
        """An execution begins. It is in flight until its Permit is told how it ended.

        That is best told when its first attempt is over: then a backend that always fails sees at most 1 + ``ratio``
        times the offered load. Counted until its last retry it would be 1 / (1 - ``ratio``) times.
        """
        with self._lock:
            self._flying.executions += 1
            return _Flight(self, self._flying, extra=False)

    def extra(self) -> _Flight | None:
        """One more attempt beside the first, in flight until its Permit is told how it ended; None: denied."""
        with self._lock:
            flying = self._flying
            most = max(self._floor, self._ratio * flying.executions + _ROUNDING)
            if flying.extras + 1 > most:
                self._denied += 1
                return None
            flying.extras += 1
            return _Flight(self, flying, extra=True)

    def landed(self, flight: _Flight) -> None:
        """One of them is over."""
        with self._lock:
            if not flight.open:
                return
            flight.open = False
            if flight.extra:
                flight.flying.extras -= 1
            else:
                flight.flying.executions -= 1

    def _renew(self) -> None:
        """In a forked child: what is in flight is the parent's."""
        self._lock = renewed(self._lock)
        self._flying = _Flying()

    @property
    def executions(self) -> int:
        """Executions in flight."""
        return self._flying.executions

    @property
    def extras(self) -> int:
        """Retries and hedges in flight."""
        return self._flying.extras

    @property
    def denied(self) -> int:
        """How many were denied since it was made."""
        return self._denied

    # --- what it says of itself ---------------------------------------------------------------------------------

    def to_dict(self) -> Data:
        """As ``Policy.to_dict``."""
        return {"kind": "budget", "ratio": plain_number(self._ratio), "floor": plain_number(self._floor)}

    def facts(self) -> Facts:
        """As ``Policy.facts``."""
        return _FACTS

    def __repr__(self) -> str:
        return (
            f"<Budget {exact_number(self._ratio * 100)} %, at least {self._floor}: {self.extras} extra on "
            f"{self.executions} executions in flight, {self._denied} denied>"
        )

    def __str__(self) -> str:
        return f"budget of {exact_number(self._ratio * 100)} % extra attempts, at least {self._floor}"


class _Flying:
    """How many are in flight."""

    __slots__ = ("executions", "extras")

    def __init__(self) -> None:
        self.executions = self.extras = 0


class _Flight(Permit):
    """An execution or an extra attempt that has begun, and where it is counted."""

    __slots__ = ("budget", "extra", "flying", "open")

    def __init__(self, budget: Budget, flying: _Flying, *, extra: bool) -> None:
        self.budget = budget
        self.flying = flying
        self.extra = extra
        self.open = True

    def succeeded(self, value: Any, /) -> None:  # noqa: ARG002 - of the protocol
        """As ``Permit.succeeded``."""
        self.budget.landed(self)

    def failed(self, error: Any, /) -> None:  # noqa: ARG002 - of the protocol
        """As ``Permit.failed``."""
        self.budget.landed(self)

    def dropped(self) -> None:
        """As ``Permit.dropped``."""
        self.budget.landed(self)
