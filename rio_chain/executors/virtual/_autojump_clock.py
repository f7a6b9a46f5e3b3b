"""Virtual time for a loop that asks its clock how long to wait, such as trio's."""

from __future__ import annotations

from math import inf

from rio_chain.executors.virtual._autojump_calls import BEGIN, POLL_EVERY, RunningCalls


class JumpingClock:
    """Virtual time: if nothing is ready, it moves to the next deadline.

    It is not trio's ``MockClock``, which does not wait for calls on threads. It is also an instrument of its run, to
    know that a task has run. What that task caused by ``run_sync_soon`` or a socket is found only when trio checks for
    I/O, and the clock must not jump before.
    """

    def __init__(self) -> None:
        self.calls = RunningCalls()
        self._at = BEGIN
        self._quiet: int | None = None
        self._stepped = False  # whether a task has run since trio last checked for I/O

    def before_task_step(self, task: object) -> None:  # noqa: ARG002 - as ``Instrument``
        """As ``Instrument.before_task_step``."""
        self._stepped = True

    def start_clock(self) -> None:
        """As ``Clock.start_clock``."""

    def current_time(self) -> float:
        """As ``Clock.current_time``."""
        return self._at

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """As ``Clock.deadline_to_sleep_time``. Trio calls it when no task is ready, and then checks for I/O."""
        before, self._quiet = self._quiet, self.calls.quiet()
        stepped, self._stepped = self._stepped, False
        if self._quiet is None:
            return POLL_EVERY
        if stepped or self._quiet != before:  # trio has not checked since a task ran, or a call ended
            return 0
        self._at = deadline if deadline < inf else self._at
        return deadline - self._at
