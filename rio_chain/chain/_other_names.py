"""Names of methods in other libraries, and what rio_chain calls them."""

from __future__ import annotations

_OF_A_TASK = "using", "inline", "lane", "resources"
_HERE = {
    "attempts": ".retry(n)",
    "backoff": ".retry(n, backoff=...)",
    "bulkhead": ".limit(Limit(n))",
    "catch": ".or_else(value)",
    "circuit_breaker": ".breaker(Breaker(...))",
    "fallback": ".or_else(value)",
    "filter": ".accept(predicate)",
    "hedge": ".replica(n, after=ms)",
    "map": ".then(fn)",
    "memoize": ".cache(Cache(ms))",
    "name": ".named(name)",
    "on_error": ".or_else(fn)",
    "pipe": ".then(fn)",
    "rate_limit": ".limit(Limit(rate=n, per=ms))",
    "recover": ".or_else(fn)",
    "retries": ".retry(n)",
    "semaphore": ".limit(Limit(n))",
    "throttle": ".limit(Limit(rate=n, per=ms))",
    "time_limit": ".timeout(ms)",
    "wait_for": ".timeout(ms)",
    "with_fallback": ".or_else(value)",
    "with_fallbacks": ".or_else(other)",
    "with_name": ".named(name)",
    "with_retry": ".retry(n)",
    "with_timeout": ".timeout(ms)",
}
"""Names that users of other libraries try, and what to write instead."""


def no_such_method(kind: str, name: str) -> str:
    """The text of the AttributeError for a method that chains of this class don't have."""
    if name in _OF_A_TASK:
        return f"`.{name}` belongs to the Task: write it before the policies, as in Task(fn).{name}(...)"
    text = f"{kind!r} object has no attribute {name!r}"
    return f"{text}; write {_HERE[name]}" if name in _HERE else text
