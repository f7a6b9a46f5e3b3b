"""What policies and choosers were made with, as plain data: numbers, names and text, and nothing of their state."""

# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001
# what a shared object was made with concerns nobody who uses it, so it stands in private attributes

from __future__ import annotations

import math
from types import MethodType
from typing import Any, cast

from rio_chain._core.units import escape_nonprintable
from rio_chain.chain._functions import Reduce, Star, wrapped
from rio_chain.policies import (
    Accept,
    Backoff,
    Breaker,
    Budget,
    ByClass,
    Cache,
    Chaos,
    Chooser,
    Limit,
    Policy,
    Quantile,
    Retry,
    SingleFlight,
    Timeout,
    Wait,
)
from rio_chain.policies._best_and_quorum import Best, Quorum
from rio_chain.policies._breaker import _SLICES, _Rolling
from rio_chain.policies._first import First
from rio_chain.policies._keys import Key
from rio_chain.policies._number_format import exact_ms

Data = dict[str, Any]
MOST = 2**63  # whole numbers beyond which tools lose count


def number(value: float | None) -> float | None:
    """A number that JSON has: None for infinity, and for a whole number that no tool can hold."""
    whole = isinstance(value, int) and abs(value) < MOST
    return value if whole or (isinstance(value, float) and math.isfinite(value)) else None


def ms(seconds: float | None) -> float | None:
    """Seconds as the milliseconds that were written; None for infinity."""
    if seconds is None or not math.isfinite(seconds):
        return None
    text = exact_ms(seconds)
    return seconds * 1000 if text.startswith("timedelta") else float(text)


# --- names ------------------------------------------------------------------------------------------------------


def function(fn: object) -> str | None:
    """The qualified name of a function, ``package.module.Class.method``; None for None."""
    if fn is None:
        return None
    words = "{}"
    while (inner := fn.__func__ if isinstance(fn, MethodType) else wrapped(fn)) is not None:
        if isinstance(fn, (Star, Reduce)):
            words = words.format("star({})" if isinstance(fn, Star) else "reduce({})")
        fn = inner
    return words.format(_qualified(fn))


def _qualified(thing: object) -> str:
    name = getattr(thing, "__qualname__", None)
    if not isinstance(name, str):
        thing = type(thing)
        name = thing.__qualname__
    module = getattr(thing, "__module__", None)
    plain = not isinstance(module, str) or module == "builtins"
    return escape_nonprintable(name if plain else f"{module}.{name}")


def errors(on: object) -> list[str] | str | None:
    """An ``on=``: the names of classes, or that of a predicate."""
    if isinstance(on, (type, tuple, ByClass)):
        return [_qualified(cls) for cls in (cast("tuple[object, ...]", on) if not isinstance(on, type) else (on,))]
    return function(on)


def key(given: Key | None) -> str | None:
    """What calls are filed under: the name of a function, or None for the input itself."""
    return None if given is None else function(given.fn)


# --- policies ---------------------------------------------------------------------------------------------------


def policy(given: Policy) -> Data:
    """A policy: its kind, and what it was made with."""
    if isinstance(given, Timeout):
        return {"kind": "timeout", "limit_ms": ms(given.seconds)}
    if isinstance(given, Retry):
        return _retry(given)
    if isinstance(given, Accept):
        return {"kind": "accept", "predicate": function(given.predicate)}
    return _shared(given)


def _retry(given: Retry) -> Data:
    """With errors that have a backoff each, that is a list in their order."""
    cases = given.on.cases if isinstance(given.on, ByClass) else None
    return {
        "kind": "retry",
        "retries": number(given.retries),
        "on": errors(given.on),
        "backoff": _backoff(given.backoff) if cases is None else [_backoff(waits) for _, waits in cases],
        "accept": function(given.accept),
        "retry_after": function(given.retry_after),
    }


def _backoff(given: Backoff | Wait | None) -> Data | None:
    if given is None:
        return None
    if isinstance(given, Wait):
        return {"kind": "wait", "function": function(given.fn)}
    asked = {} if given.max_retry_after is None else {"max_retry_after_ms": ms(given.max_retry_after)}
    return {
        "kind": "backoff",
        "base_ms": ms(given.base),
        "factor": number(given.factor),
        "cap_ms": ms(given.cap),
        "jitter": given.jitter,
        **asked,
    }


def _shared(given: Policy) -> Data:  # noqa: PLR0911 - one for each kind
    if isinstance(given, Breaker):
        return _breaker(given)
    if isinstance(given, Limit):
        return _limit(given)
    if isinstance(given, Budget):
        return {"kind": "budget", "ratio": number(given._ratio), "floor": number(given._floor)}
    if isinstance(given, Cache):
        return {"kind": "cache", "ttl_ms": ms(given._ttl), "size": number(given._size), "key": key(given.key)}
    if isinstance(given, SingleFlight):
        return {"kind": "single_flight", "key": key(given.key)}
    if isinstance(given, Chaos):
        return _chaos(given)
    return {"kind": "gate", "type": _qualified(type(given))}


def _breaker(given: Breaker) -> Data:
    counts = given._counts
    if isinstance(counts, _Rolling):
        window = float(f"{counts.width * _SLICES:.10g}")  # it was divided before
        rule = {"ratio": counts.ratio, "window_ms": ms(window), "min_calls": number(counts.min_calls)}
    else:
        rule = {"failures": number(counts.most)}
    opens = {"open_for_ms": ms(given._open_for), "on": errors(given._on), "name": given._name or None}
    return {"kind": "breaker", **rule, **opens}


def _chaos(given: Chaos) -> Data:
    error = given._error
    kind = None if error is None else _qualified(error if isinstance(error, type) else type(error))
    rate, late = number(given._rate), ms(given.latency)
    return {"kind": "chaos", "rate": rate, "latency_ms": late, "error": kind, "seed": number(given._seed)}


def _limit(given: Limit) -> Data:
    rate = given._rate
    return {
        "kind": "limit",
        "concurrency": number(given.concurrency),
        "interval_ms": None if rate is None else ms(rate.interval),
        "burst": None if rate is None else number(rate.burst),
        "wait_ms": ms(given.patience),
        "key": key(given.key),
    }


# --- races ------------------------------------------------------------------------------------------------------


def pick(given: Chooser) -> Data:
    """How the answer of a race is chosen."""
    if isinstance(given, First):
        return {"kind": "first", "accept": function(given.accept)}
    if isinstance(given, Best):
        score, enough = function(given.score), number(given.enough)
        return {"kind": "best", "score": score, "within_ms": ms(given.within), "enough": enough}
    if isinstance(given, Quorum):
        return {"kind": "quorum", "k": number(given.k), "by": function(given.by)}
    return {"kind": "chooser", "type": _qualified(type(given))}


def quantile(given: Quantile) -> Data:
    """When the next call of a hedge begins, if latencies decide that."""
    return {"kind": "quantile", "q": given._q, "warmup": number(given._warmup), "window": number(given._window)}
