"""Budget: how many extra attempts there may be besides the first ones. It protects a slow backend from overload."""

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
    """Limits retries and hedges in flight to ``ratio`` of the executions in flight, but allows at least ``floor``.

    An execution is one call of the chain to the left of the budget, with all its attempts. All chains that use the
    object share it. It uses no clock, so it works the same on every executor. A retry or hedge needs permission when it
    begins; a retry that waits for its backoff is not in flight. If permission is denied, the running attempts go on: a
    hedge is not started, and a retry fails with its last error.

    Args:
        ratio: extra attempts for each execution in flight; 0 or more. Default 0.2.
        floor: this many extra attempts are always allowed. Default 3.

    Raises:
        ChainDefinitionError: an argument is out of its range.

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
        """An execution begins. It is in flight until its Permit is called.

        Call the Permit when the first attempt has ended. Then a backend that always fails gets at most 1 + ``ratio``
        times the offered load. If the execution counted until its last retry, it would be 1 / (1 - ``ratio``) times.
        """
        with self._lock:
            self._flying.executions += 1
            return _Flight(self, self._flying, extra=False)

    def extra(self) -> _Flight | None:
        """Ask for one more attempt besides the first. It is in flight until its Permit is called.

        Returns None if the attempt is denied.
        """
        with self._lock:
            flying = self._flying
            most = max(self._floor, self._ratio * flying.executions + _ROUNDING)
            if flying.extras + 1 > most:
                self._denied += 1
                return None
            flying.extras += 1
            return _Flight(self, flying, extra=True)

    def landed(self, flight: _Flight) -> None:
        """An execution or extra attempt has ended."""
        with self._lock:
            if not flight.open:
                return
            flight.open = False
            if flight.extra:
                flight.flying.extras -= 1
            else:
                flight.flying.executions -= 1

    def _renew(self) -> None:
        """In a forked child: forget what is in flight, which belongs to the parent."""
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
        """How many extra attempts were denied since it was made."""
        return self._denied

    # --- its description ----------------------------------------------------------------------------------------

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
    """The numbers of executions and extra attempts in flight."""

    __slots__ = ("executions", "extras")

    def __init__(self) -> None:
        self.executions = self.extras = 0


class _Flight(Permit):
    """An execution or an extra attempt in flight, and the counts that it is part of."""

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
