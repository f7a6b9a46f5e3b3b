"""Lets a shared policy report that its state has changed. The engine listens and passes the report on."""

from __future__ import annotations

from collections.abc import Callable

Listener = Callable[[str, str], None]


def _nobody(policy: str, state: str, /) -> None:
    """Do nothing: the engine is not imported yet."""


_listener: Listener = _nobody


def listen(listener: Listener) -> None:
    """Set the listener. It is called with the name of a breaker and its new state."""
    global _listener  # noqa: PLW0603 - set once, when the engine is imported
    _listener = listener


def breaker_changed(policy: str, state: str) -> None:
    """Report the new state of a breaker.

    Called without the breaker's lock, in the context of the code that changed it.
    """
    _listener(policy, state)
