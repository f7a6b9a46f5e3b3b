"""Virtual time for a loop that asks a clock how long to wait, as trio does."""

from __future__ import annotations

from math import inf

from rio_chain.executors.virtual._autojump_calls import BEGIN, POLL_EVERY, RunningCalls


class JumpingClock:
    """Virtual time: when nothing is ready, it moves to the next deadline.

    Not trio's ``MockClock``, which would run away from calls on threads. It is an instrument of its run as well, to
    know that a task has run: trio finds what that has caused by ``run_sync_soon`` or a socket only when it looks for
    I/O, and the clock must not jump before.
    """

    def __init__(self) -> None:
        self.calls = RunningCalls()
        self._at = BEGIN
        self._quiet: int | None = None
        self._stepped = False  # a task has run since trio last looked

    def before_task_step(self, task: object) -> None:  # noqa: ARG002 - as ``Instrument``
        """As ``Instrument.before_task_step``."""
        self._stepped = True

    def start_clock(self) -> None:
        """As ``Clock.start_clock``."""

    def current_time(self) -> float:
        """As ``Clock.current_time``."""
        return self._at

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """As ``Clock.deadline_to_sleep_time``: asked when no task is ready, and then trio looks for I/O."""
        before, self._quiet = self._quiet, self.calls.quiet()
        stepped, self._stepped = self._stepped, False
        if self._quiet is None:
            return POLL_EVERY
        if stepped or self._quiet != before:  # trio has not looked since a task ran, or a call ended
            return 0
        self._at = deadline if deadline < inf else self._at
        return deadline - self._at
