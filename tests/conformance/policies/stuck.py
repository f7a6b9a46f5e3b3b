"""A blocking function whose calls last until a test lets them end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Container
from typing import Any

from attrs import define, field

LONGEST = 10.0
"""Seconds after which a call ends by itself, if a test has failed to let it end."""


@define(eq=False)
class Stuck:
    """Call number ``i``, from 0, blocks if it is in ``which``; default: all of them. It ends by calling ``after``."""

    which: Container[int] = range(1000)
    after: Callable[[], Any] = lambda: None
    calls: list[Any] = field(factory=list)
    ended: list[Any] = field(factory=list)  # what `after` gave
    running: int = 0
    most: int = 0
    _gates: dict[int, threading.Event] = field(factory=dict)
    _lock: threading.Lock = field(factory=threading.Lock)

    def __call__(self, x: Any) -> Any:
        with self._lock:
            number = len(self.calls)
            self.calls.append(x)
            self.running += 1
            self.most = max(self.most, self.running)
            gate = self._gates.setdefault(number, threading.Event())
        if number in self.which:
            gate.wait(LONGEST)
        after = self.after()
        with self._lock:
            self.running -= 1
            self.ended.append(after)
        return x

    def end(self, *numbers: int) -> None:
        """Let these calls end; without any, all that have begun or will begin."""
        with self._lock:
            self.which = () if not numbers else self.which
            gates = list(self._gates.values()) if not numbers else [self._gates[number] for number in numbers]
        for gate in gates:
            gate.set()
