"""When the calls of a hedge are due, if that depends on the call: by a function, or by the key of the input."""

from __future__ import annotations

from typing import Any

from rio_chain.engine._instructions import LEARNED, Args
from rio_chain.errors import CallbackFailed
from rio_chain.policies import Quantile, Replica
from rio_chain.policies._checks import title
from rio_chain.policies._delays import DelayFunction, HedgeDelays, KeyedDelays
from rio_chain.policies._permit import Clock


def first_delay(replica: Replica) -> Any:
    """Seconds until the second call is due, or ``LEARNED``."""
    return LEARNED if isinstance(replica.after, (Quantile, DelayFunction)) else replica.delay()


def reads_input(replica: Replica) -> bool:
    """Whether its delays depend on the input."""
    return isinstance(replica.after, Quantile) and replica.after.key is not None


def delays_of(replica: Replica, value: Any, clock: Clock) -> HedgeDelays:
    """The delays for a call with this input. The function of the user is called in place.

    Raises:
        CallbackFailed: the function has failed.
    """
    after = replica.after
    if isinstance(after, DelayFunction):
        try:
            return after.delays(replica.count)
        except Exception as exc:  # noqa: BLE001 - any error of a callback becomes a `CallbackFailed`
            raise CallbackFailed("after", title(after.fn), exc) from None
    if not isinstance(after, Quantile) or after.key is None:
        return replica
    try:
        key = after.key(*value.args, **value.kwargs) if type(value) is Args else after.key(value)
    except Exception as exc:  # noqa: BLE001 - as above
        raise CallbackFailed("key", after.key.__name__, exc) from None
    return KeyedDelays(after, key, clock)
