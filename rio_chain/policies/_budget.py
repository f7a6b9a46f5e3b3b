"""Budget: how many extra attempts there may be besides the first ones. It protects a slow backend from overload."""

from __future__ import annotations

import math
import threading
from typing import Any

from rio_chain._core.forks import after_fork, renewed
from rio_chain._core.units import Duration, count, format_duration, number, seconds
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies._number_format import exact_number
from rio_chain.policies._permit import Call, Clock, Permit
from rio_chain.policies._plain_data import Data, ms
from rio_chain.policies._plain_data import number as plain_number
from rio_chain.policies._policy import Facts, Policy
from rio_chain.policies._shared_clock import Timeline, clock_here
from rio_chain.policies._shared_state import Shared
from rio_chain.policies._token_bucket import Bucket, Rate

_RATIO = 0.2
_FLOOR = 3
_ROUNDING = 1e-9  # 0.29 * 100 is 28.999999999999996


_FACTS = Facts(bounds_extras=True)


class Budget(Shared, Policy):
    """Limits retries and hedges in flight to ``ratio`` of the executions in flight, but allows at least ``floor``.

    An execution is one call of the chain to the left of the budget, with all its attempts. All chains that use the
    object share it. Without a ``rate`` it uses no clock, so it works the same on every executor. A retry or hedge needs
    permission when it begins; a retry that waits for its backoff is not in flight. If permission is denied, the running
    attempts go on: a hedge is not started, and a retry fails with its last error.

    With a ``rate`` it limits how many extra attempts begin in a time, whatever is in flight. With ``rate`` and
    ``ratio``, both must allow an attempt.

    Args:
        ratio: extra attempts for each execution in flight; 0 or more. Default 0.2, or no such limit if there is a rate.
        floor: this many extra attempts are always allowed by the ``ratio``. Default 3.
        rate: how many extra attempts may begin in each ``per``, on average, for all calls. May be a fraction. Default
            None: no limit.
        per: milliseconds or a ``timedelta``; default 1000.
        burst: how many extra attempts may begin together after a pause. Default: the rate, and at least 1.

    Raises:
        ChainDefinitionError: an argument is out of its range, or belongs to one that is not given.

    Example:
        >>> budget = Budget(0.2, floor=1)
        >>> first, second = budget.extra(), budget.extra()
        >>> second is None, budget
        (True, <Budget 20 %, at least 1: 1 extra on 0 executions in flight, 1 denied>)
    """

    builder_call = "budget"

    def __init__(
        self,
        ratio: float | None = None,
        floor: int | None = None,
        *,
        rate: float | None = None,
        per: Duration = 1000,
        burst: int | None = None,
    ) -> None:
        if rate is None and burst is not None:
            raise ChainDefinitionError(f"`burst` belongs to a `rate`, such as Budget(rate=10, burst=1); got {burst!r}")
        if rate is not None and ratio is None and floor is not None:
            raise ChainDefinitionError(f"`floor` belongs to a `ratio`, such as Budget(0.2, 3, rate=10); got {floor!r}")
        share = _RATIO if ratio is None and rate is None else ratio
        self._ratio = None if share is None else number(share, "ratio", least=0)
        self._floor = _FLOOR if floor is None else count(floor, "floor")
        self._per = seconds(per, "per")
        self._rate = None if rate is None else number(rate, "rate", above=0)
        self._burst = max(1, int(self._rate or 1)) if burst is None else count(burst, "burst", least=1)
        self._bucket = None if self._rate is None else Bucket(Rate(self._per / self._rate, self._burst))
        self._time = Timeline()
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

    def extra(self, *, clock: Clock | None = None) -> _Flight | None:
        """Ask for one more attempt besides the first. It is in flight until its Permit is called.

        With a ``rate``, ``clock`` is the clock of the executor. Default: that of the running code. Returns None if the
        attempt is denied.
        """
        with self._lock:
            flying = self._flying
            ratio = math.inf if self._ratio is None else self._ratio * flying.executions + _ROUNDING
            if flying.extras + 1 > max(self._floor, ratio) or not self._has_token(clock):
                self._denied += 1
                return None
            flying.extras += 1
            return _Flight(self, flying, extra=True)

    def _has_token(self, clock: Clock | None) -> bool:
        """Take a token, if there is a rate. It is not given back."""
        return self._bucket is None or self._bucket.take(self._time.now(clock or clock_here()))

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
        share = {"ratio": plain_number(self._ratio), "floor": plain_number(self._floor)}
        if self._bucket is None:
            return {"kind": "budget", **share}
        rate = self._bucket.rate
        share = share if self._ratio is not None else {"ratio": None, "floor": None}
        return {"kind": "budget", **share, "interval_ms": ms(rate.interval), "burst": plain_number(self._burst)}

    def facts(self) -> Facts:
        """As ``Policy.facts``."""
        return _FACTS

    def __repr__(self) -> str:
        return (
            f"<Budget {self._rule()}: {self.extras} extra on "
            f"{self.executions} executions in flight, {self._denied} denied>"
        )

    def __str__(self) -> str:
        if self._rate is None:
            return f"budget of {exact_number((self._ratio or 0) * 100)} % extra attempts, at least {self._floor}"
        return f"budget of extra attempts, {self._rule()}"

    def _rule(self) -> str:
        share = "" if self._ratio is None else f"{exact_number(self._ratio * 100)} %, at least {self._floor}"
        if self._rate is None:
            return share
        return (share and share + ", ") + f"{exact_number(self._rate)} per {format_duration(self._per)}"


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
