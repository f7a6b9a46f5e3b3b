"""Virtual time for a loop that waits in a selector, such as asyncio's."""

from __future__ import annotations

import selectors

from rio_chain.executors.virtual._autojump_calls import BEGIN, POLL_EVERY, RunningCalls


class AutojumpSelector(selectors.DefaultSelector):
    """A selector that never waits for time to pass, but moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.at = BEGIN
        self.calls = RunningCalls()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As ``BaseSelector.select``."""
        if timeout is not None and timeout <= 0:
            return super().select(timeout)
        while self.calls.quiet() is None:
            if ready := super().select(POLL_EVERY):
                return ready
        ready = super().select(timeout and 0)  # what the last call woke is ready by now
        if not ready and timeout is not None:
            self.at += timeout
        return ready
