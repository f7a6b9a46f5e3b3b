"""The run of a Request that a task returned, as the record of that task keeps it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rio_chain.results._outcome import Failed, Outcome
from rio_chain.results._task_record import Log, close

if TYPE_CHECKING:
    from rio_chain.chain._plan import Plan


class NestedRun:
    """What is known of it. ``Response.nested`` gives the Outcome that is made of this.

    It ends by itself, or with the task that it is a part of.
    """

    __slots__ = ("_got", "_log", "_over", "_plan", "_times")

    def __init__(self, plan: Plan, log: Log, times: tuple[float, float], over: Callable[[Any], None] | None) -> None:
        self._plan = plan
        self._log = log
        self._times = times  # began, ended
        self._over = over  # to be called with the cause when it has ended
        self._got: Any = _OPEN

    def end(self, got: Any) -> None:
        """It ended with a value, or with ``Failed``."""
        self._got = got
        if self._over is not None:
            over, self._over = self._over, None
            over(got.error if type(got) is Failed else None)

    def interrupted(self, error: Any) -> None:
        """The task that it is a part of ended with ``error``."""
        if self._got is _OPEN:
            close(self._log, 0, len(self._log), error)
            self.end(Failed(error))

    @property
    def began(self) -> float:
        """On the clock of the run."""
        return self._times[0]

    def outcome(self) -> Outcome[Any]:
        """The Outcome."""
        began, ended = self._times
        return Outcome(self._plan, self._log, self._got, (began, began, ended))


_OPEN: Any = Failed(None)
"""Stands for the value of one that was interrupted, while its task has not ended yet."""
