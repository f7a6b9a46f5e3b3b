"""The options of a request, and the parts of a posted one that is waiting or running."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextvars import Context
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from attrs import define, field, frozen

from rio_chain._core.deadline import Deadline, deadline_of
from rio_chain._core.units import Duration, number, seconds, short_repr
from rio_chain.balancer._priority_queue import Turn
from rio_chain.engine._current_run import INF, Run, inherited
from rio_chain.errors import ChainDefinitionError
from rio_chain.executors._run_ticket import TicketRun

if TYPE_CHECKING:
    from rio_chain.balancer._admission import Admission
    from rio_chain.engine._runtime_protocol import Runtime
    from rio_chain.results._outcome import Outcome

CLOSED = "the balancer closed"
ENDED = "its loop has ended"
"""The reason if a balancer closed because its loop ended."""

OnFull = Literal["wait", "reject"]
"""What ``run`` and ``arun`` do if the buffer is full."""


@frozen
class RequestOptions:
    """The options of one request, in seconds: the keywords of ``run``, ``arun`` and ``post``."""

    priority: float
    deadline: Deadline | None
    queue_timeout: float
    bounded: bool
    """Whether it is refused if the buffer is full."""
    tenant: Hashable = None
    worth: float = 0.0
    """What the ``shed=`` function of the balancer says of it."""

    def turn(self, run: Run, posted: float, rt: Runtime, *, sheddable: bool) -> Turn:
        """A turn with these options."""
        turn = Turn(run, self.priority, posted)
        turn.tenant, turn.worth, turn.sheddable = self.tenant, self.worth, sheddable
        if self.deadline is not None:
            turn.end = self.deadline.on(rt.now)
        return turn

    def until(self, rt: Runtime, posted: float) -> float:
        """The instant when its wait in the queue is over, on the host's clock."""
        end = posted + self.queue_timeout
        return end if self.deadline is None else min(end, self.deadline.on(rt.now))


def request_options(
    clock: Callable[[], float],
    priority: float = 0,
    deadline: Deadline | Duration | None = None,
    queue_timeout: Duration | None = None,
    on_full: OnFull = "wait",
) -> RequestOptions:
    """Check the options that a user gave, and add the deadline inherited from the run around the call."""
    given: Any = on_full
    if deadline is None and queue_timeout is None and type(priority) is int and not priority and inherited() is None:
        usual = USUAL.get(given) if type(given) is str else None
        if usual is not None:
            return usual
    if not isinstance(given, str) or given not in ("wait", "reject"):
        raise ChainDefinitionError(f"`on_full` must be 'wait' or 'reject'; got {short_repr(given)}")
    limit = INF if queue_timeout is None else seconds(queue_timeout, "queue_timeout", zero=True)
    own, around = deadline_of(deadline, clock), inherited()
    if own is not None and around is not None:
        own = min(own, around, key=Deadline.remaining)
    return RequestOptions(number(priority, "priority"), own or around, limit, given == "reject")


USUAL = {"wait": RequestOptions(0, None, INF, bounded=False), "reject": RequestOptions(0, None, INF, bounded=True)}
"""The options of most requests, by what they do if the buffer is full."""


@define(eq=False)
class PostedRequest(TicketRun):
    """A posted request that is waiting or running."""

    context: Context = field(kw_only=True)
    """The context in which it runs."""
    admission: Admission = field(kw_only=True)
    open: set[PostedRequest] = field(kw_only=True)
    """The requests that were started and have no answer yet."""
    turn: Turn | None = field(default=None, init=False)
    """Its turn in the queue, if it had to wait."""
    sheddable: ClassVar[bool] = True
    """Whether it may be dropped if the buffer is full."""

    counted: bool = field(default=False, init=False)
    """Whether its end is in the counts of the balancer."""

    def left(self, began: float, outcome: Outcome[Any] | None) -> None:
        """As ``TicketRun.left``: pass on its slot."""
        self.counted = True
        self.admission.leave(self.ticket.run, began - self.posted, self.host.runtime.now() - began, outcome)

    def answered(self) -> None:
        """As ``TicketRun.answered``."""
        self.open.discard(self)
        if self.ticket.run in self.admission.runs:  # giving back its slot was interrupted
            self.admission.release(self.ticket.run)

    def cancelled(self, error: Exception) -> None:
        """Answer it without running it, or before its end."""
        outcome = self.unbegun(error)
        if not (self.ticket.done or self.counted):
            self.counted = True
            self.admission.unbegun(outcome)
        self.ticket.resolve(outcome)
