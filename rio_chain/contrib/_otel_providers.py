"""Whether a provider of OpenTelemetry does anything. It is asked before each run, so the answer has to be quick."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_UNKNOWN = object()
_API = ("opentelemetry.trace", "opentelemetry.metrics")


class ProviderWatch:
    """A provider that was given, or the global one, which a program may set at any time, once.

    Args:
        given: the provider; None: the global one.
        get: gives the global one.
        name: the variable beside ``get`` that holds it. ``get`` itself looks at the environment each time, which takes
            longer than a whole run of a quick function. Without such a variable ``get`` is called.
    """

    __slots__ = ("_active", "_get", "_given", "_name", "_variables")

    def __init__(self, given: object, get: Callable[[], Any], name: str) -> None:
        self._given = given
        self._get = get
        self._name = name
        self._variables: dict[str, object] = getattr(get, "__globals__", {})
        self._active = False
        self.idle()

    def idle(self) -> bool:
        """Whether what is recorded goes nowhere."""
        if self._active:
            return False
        provider = self._given
        if provider is None:
            provider = self._variables.get(self._name, _UNKNOWN)
            if provider is None:
                return True
            if provider is _UNKNOWN:
                provider = self._get()
        # those of opentelemetry-api are the no-op, and the placeholder for one that is not set yet
        self._active = not type(provider).__module__.startswith(_API)
        return not self._active
