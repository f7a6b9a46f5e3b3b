"""One file per policy: frozen data, pure decisions, and the objects in which state is shared. Nothing here waits.

What is common to those objects is in ``hold`` (how a call gets in), ``shared`` and ``timeline``.
"""

from typing import TYPE_CHECKING

from rio_chain._renamed import names_today
from rio_chain.policies.accept import Accept
from rio_chain.policies.at_least import AtLeast, at_least
from rio_chain.policies.backoff import DEFAULT_BACKOFF, Backoff, Wait
from rio_chain.policies.breaker import Breaker
from rio_chain.policies.budget import Budget
from rio_chain.policies.cache import Cache
from rio_chain.policies.chaos import Chaos
from rio_chain.policies.choice import Chooser
from rio_chain.policies.first import first
from rio_chain.policies.flights import SingleFlight
from rio_chain.policies.gate import Gate
from rio_chain.policies.hold import Call, PendingPermit, Permit
from rio_chain.policies.limit import Limit
from rio_chain.policies.quantile import Quantile
from rio_chain.policies.replica import Replica
from rio_chain.policies.retry import ByClass, Retry
from rio_chain.policies.timeout import Timeout

Policy = Timeout | Retry | Accept | Breaker | Limit | Gate | Budget | Cache | SingleFlight | Chaos
"""What may stand around a part of a chain. A Replica is no policy of this kind: its parts are several."""

__all__ = [
    "DEFAULT_BACKOFF",
    "Accept",
    "AtLeast",
    "Backoff",
    "Breaker",
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
    "Replica",
    "Retry",
    "SingleFlight",
    "Timeout",
    "Wait",
    "at_least",
    "first",
]

if not TYPE_CHECKING:
    __getattr__ = names_today(__name__, {"Flights": "SingleFlight", "Hold": "Permit", "Turn": "PendingPermit"})
