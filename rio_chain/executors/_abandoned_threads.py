"""The threads whose call was abandoned and still runs: counted, up to ``max_abandoned``.

A Python thread can't be killed. A call that no run waits for any more is *given up*: it is counted here until it
returns, another thread may replace its own, and its own thread then ends. If too many are counted, no further call is
made.
"""

from __future__ import annotations

from contextvars import Context

from rio_chain.engine._current_run import task_in
from rio_chain.engine._runtime_protocol import Refused
from rio_chain.errors import LimitExceeded


class AbandonedCall:
    """A call that was given up and still runs, with the name of its task."""

    __slots__ = ("task",)

    def __init__(self, context: Context | None) -> None:
        self.task = "" if context is None else task_in(context)


class AbandonedThreads:
    """The count of one pool, which changes it under its lock.

    Args:
        most: while this many abandoned calls still run, no further call may start.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.calls: dict[object, AbandonedCall] = {}  # by the worker on whose thread it runs

    def add(self, worker: object, context: Context | None) -> None:
        """The call of this worker is given up. The ``context`` is that of the call."""
        self.calls[worker] = AbandonedCall(context)

    def remove(self, worker: object) -> bool:
        """The call of this worker has returned. Gives whether it was counted here."""
        return self.calls.pop(worker, None) is not None

    def refusal(self) -> Refused:
        """The answer to a call that is not made because there are too many."""
        calls = f"{len(self.calls)} abandoned calls still run (max_abandoned={self.most})"
        return Refused(LimitExceeded(f"{calls}; this one was not made"))
