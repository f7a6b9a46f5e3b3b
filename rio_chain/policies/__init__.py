"""One file per policy: frozen data, pure decisions, and the objects that hold shared state. Nothing here waits.

The common parts are ``_policy`` (the interface), ``_permit`` (how a call is let in), ``_shared_state`` and
``_shared_clock``.
"""

from typing import TYPE_CHECKING

from rio_chain._renamed import names_today
from rio_chain.policies._accept import Accept
from rio_chain.policies._at_least import AtLeast, at_least
from rio_chain.policies._backoff import DEFAULT_BACKOFF, Backoff, Wait
from rio_chain.policies._batch import Batch
from rio_chain.policies._breaker import Breaker
from rio_chain.policies._budget import Budget
from rio_chain.policies._cache import Cache
from rio_chain.policies._chaos import Chaos
from rio_chain.policies._chooser import Chooser
from rio_chain.policies._circuit import BreakerStats
from rio_chain.policies._first import first
from rio_chain.policies._gate import Gate
from rio_chain.policies._limit import Limit
from rio_chain.policies._permit import Call, PendingPermit, Permit
from rio_chain.policies._policy import Policy
from rio_chain.policies._quantile import Quantile, QuantileState
from rio_chain.policies._replica import Replica
from rio_chain.policies._retry import ByClass, Retry
from rio_chain.policies._single_flight import SingleFlight
from rio_chain.policies._timeout import Timeout, TimeoutByInput

__all__ = [
    "DEFAULT_BACKOFF",
    "Accept",
    "AtLeast",
    "Backoff",
    "Batch",
    "Breaker",
    "BreakerStats",
    "Budget",
    "ByClass",
    "Cache",
    "Call",
    "Chaos",
    "Chooser",
    "Gate",
    "Limit",
    "PendingPermit",
    "Permit",
    "Policy",
    "Quantile",
    "QuantileState",
    "Replica",
    "Retry",
    "SingleFlight",
    "Timeout",
    "TimeoutByInput",
    "Wait",
    "at_least",
    "first",
]

if not TYPE_CHECKING:
    __getattr__ = names_today(__name__, {"Flights": "SingleFlight", "Hold": "Permit", "Turn": "PendingPermit"})
