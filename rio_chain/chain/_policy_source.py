"""Policies and races as source.

An object that holds shared state goes by a name, as a function does: ``.breaker(breaker)``. Its constructor would make
another one, and another chain.
"""

from __future__ import annotations

import math
import re
from typing import Any, cast

from rio_chain._core.units import escape_nonprintable
from rio_chain.chain._functions import MISSING, Reduce, Star, name_of
from rio_chain.chain._nodes import RaceNode
from rio_chain.policies import (
    DEFAULT_BACKOFF,
    Accept,
    Breaker,
    Budget,
    Cache,
    Chaos,
    Chooser,
    Gate,
    Limit,
    Policy,
    Quantile,
    Retry,
    SingleFlight,
    Timeout,
)
from rio_chain.policies._best_and_quorum import Best, Quorum
from rio_chain.policies._first import First
from rio_chain.policies._number_format import exact_ms
from rio_chain.policies._retry import ByClass

SHARED: dict[type[Any], str] = {
    Breaker: ".breaker(breaker)",
    Budget: ".budget(budget)",
    Cache: ".cache(cache)",
    Chaos: ".chaos(chaos)",
    SingleFlight: ".single_flight(flights)",
    Gate: ".limit(gate)",
    Limit: ".limit(limit)",
}


def fn_source(fn: Any) -> str:
    """The name that a function goes by in source."""
    name = identifier(name_of(fn))
    if isinstance(fn, Star):
        return f"star({name})"
    if isinstance(fn, Reduce):
        return f"reduce({name})" if fn.initial is MISSING else f"reduce({name}, initial={value(fn.initial)})"
    return name


def identifier(name: str) -> str:
    """A name as it can stand in source; what is no letter, digit or underscore is made one."""
    return re.sub(r"\W", "_", name, flags=re.ASCII)


def value(constant: object) -> str:
    """A constant as source of printable ASCII; of what can't say what it is, the type."""
    try:
        return escape_nonprintable(repr(constant))
    except Exception:  # noqa: BLE001 - a user's broken __repr__ must not break ours
        return f"<{escape_nonprintable(type(constant).__name__)}>"


# --- source -----------------------------------------------------------------------------------------------------


def call(policy: Policy) -> str:
    """The call that puts a policy around what stands to its left."""
    if isinstance(policy, Timeout):
        return f".timeout({exact_ms(policy.seconds)})"
    if isinstance(policy, Retry):
        return f".retry({', '.join(_retry(policy))})"
    if isinstance(policy, Accept):
        return f".accept({fn_source(policy.predicate)})"
    return next(text for kind, text in SHARED.items() if isinstance(policy, kind))


def _retry(policy: Retry) -> list[str]:
    words = [str(policy.retries)]
    if policy.on is not Exception:
        words.append(f"on={on(policy.on)}")
    if policy.backoff != DEFAULT_BACKOFF:
        words.append(f"backoff={policy.backoff!r}")
    if policy.accept is not None:
        words.append(f"accept={fn_source(policy.accept)}")
    if policy.retry_after is not None:
        words.append(f"retry_after={fn_source(policy.retry_after)}")
    return words


def on(which: object) -> str:
    """An ``on=`` as source."""
    if isinstance(which, ByClass):
        return repr(which)
    if not isinstance(which, tuple):
        return fn_source(which)
    inside = ", ".join(fn_source(error) for error in cast("tuple[object, ...]", which))
    return f"({inside},)" if len(cast("tuple[object, ...]", which)) == 1 else f"({inside})"


def race(node: RaceNode, branches: list[str]) -> str:
    """A race as source, its branches given as such; the first of a hedge stands left of the dot."""
    pick = [] if node.pick == First() else [f"pick={_pick(node.pick)}"]
    if not node.hedge:
        return f"race({', '.join([*branches, *pick])})"
    first, *others = branches
    words = [str(node.count)] if node.count != len(branches) or not others else []
    if node.after:
        words.append(f"after={_after(node.after)}")
    if others:
        words.append(f"to=[{', '.join(others)}]")
    return f"{first}.replica({', '.join([*words, *pick])})"


def _after(after: float | Quantile) -> str:
    return "quantile" if isinstance(after, Quantile) else "None" if after == math.inf else exact_ms(after)


def _pick(pick: Chooser) -> str:
    return escape_nonprintable(repr(pick)) if isinstance(pick, (First, Best, Quorum)) else fn_source(pick)
