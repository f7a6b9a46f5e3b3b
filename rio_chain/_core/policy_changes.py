"""A policy that is shared has changed by itself: it reports that here, and the engine knows who wants to hear of it."""

from __future__ import annotations

from collections.abc import Callable

Listener = Callable[[str, str], None]


def _nobody(policy: str, state: str, /) -> None:
    """There is no engine yet."""


_listener: Listener = _nobody


def listen(listener: Listener) -> None:
    """Call this with the name of a breaker and its new state."""
    global _listener  # noqa: PLW0603 - set once, when the engine is imported
    _listener = listener


def breaker_changed(policy: str, state: str) -> None:
    """A breaker is in another state. Called without its lock, in the context of the code that changed it."""
    _listener(policy, state)
