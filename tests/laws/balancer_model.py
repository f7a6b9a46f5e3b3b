"""What a balancer should do, as lists: what runs, what waits, what is next, how each ends. No threads, no loops.

Time is in milliseconds and moves by ``advance`` alone. No two instants at which something ends are the same, so that
one thing happens after the other.
"""

from __future__ import annotations

from math import inf

from attrs import define, field


@define(eq=False)
class Asked:
    """A request that was accepted. ``kind`` says what its body does:

    ``holds`` until it is let go, ``blocks`` a thread until then, ``quick`` and ``fails`` end at once.
    """

    number: int
    kind: str
    priority: int
    at: float
    until: float  # its waiting may last
    deadline: float
    state: str = "line"  # then "runs", then "over"
    end: str = ""  # "value", "error", "cancelled", "late", "refused"; of a call that was itself cancelled "interrupted"
    calls: int = 0
    status: str = ""
    waited: float = 0.0

    @property
    def summary(self) -> tuple[str, str, int]:
        """What its Outcome says: the end, the status and the attempts; nothing without one."""
        if self.state != "over" or self.end == "interrupted":
            return self.end, "", 0
        return self.end, self.status, self.calls


STATUS = {"value": "succeeded", "error": "failed", "cancelled": "cancelled", "late": "timed_out", "refused": "failed"}


@define(eq=False)
class Model:
    """One balancer."""

    workers: int
    buffer: int
    max_abandoned: int
    aging: float | None = None
    now: float = 0.0
    asked: list[Asked] = field(factory=list)
    line: list[Asked] = field(factory=list)
    running: list[Asked] = field(factory=list)
    stuck: list[Asked] = field(factory=list)  # abandoned calls
    begun: list[int] = field(factory=list)  # in the order in which bodies were called
    graces: list[float] = field(factory=list)  # when the patience of each close ends
    closed: bool = False
    done: int = 0
    rejected: int = 0

    @property
    def gauges(self) -> tuple[int, int, int, int, int]:
        """As in ``Stats``."""
        return len(self.running), len(self.line), len(self.stuck), self.done, self.rejected

    @property
    def idle(self) -> bool:
        return not self.running and not self.line

    @property
    def full(self) -> bool:
        """Whether the next one has to wait."""
        return bool(self.line) or len(self.running) >= self.workers

    @property
    def next(self) -> Asked:
        """The first in the line."""
        return min(self.line, key=self._rank)

    # --- what is done to it -------------------------------------------------------------------------------------

    def ask(self, one: Asked, *, bounded: bool) -> str:
        """The name of the exception with which it is refused; "" when it is taken."""
        if len(self.stuck) >= self.max_abandoned and not self.closed:
            self.rejected += 1
            return "Saturated"
        if self.closed:
            return "BalancerClosed"
        if self.full and bounded and len(self.line) >= self.buffer:
            self.rejected += 1
            return "QueueFull"
        self.asked.append(one)
        self.line.append(one)
        self._fill()
        self.advance(0)
        return ""

    def finish(self, one: Asked, *, well: bool) -> None:
        """Its body is let go."""
        if one in self.stuck:
            self.stuck.remove(one)
        elif one.state == "runs":
            self._ends(one, "value" if well else "error")

    def cancel(self, one: Asked, end: str = "cancelled") -> None:
        """Its ticket is cancelled; or the call that waits for it."""
        if one.state == "line":
            self._leaves(one, end)
        elif one.state == "runs":
            self._stops(one, end)

    def close(self, grace: float) -> None:
        self.closed = True
        self.graces.append(self.now + grace)
        self.advance(0)

    def advance(self, ms: float) -> None:
        """Time goes on, and what is over is over."""
        until = self.now + ms
        while True:
            ends = [(one.until, one.number, one) for one in self.line]
            ends += [(one.deadline, one.number, one) for one in self.running]
            at, _, one = min(ends, default=(inf, 0, None))
            grace = min(self.graces, default=inf)
            if min(at, grace) > until:
                break
            self.now = max(self.now, min(at, grace))
            if grace < at:
                self.graces.remove(grace)
                self._clear()
            elif one is not None and one.state == "line":
                self._leaves(one, "late")
            elif one is not None:
                self._stops(one, "late")
        self.now = until

    # --- what follows from it -----------------------------------------------------------------------------------

    def _rank(self, one: Asked) -> tuple[float, int]:
        return -one.priority if self.aging is None else one.at - one.priority * self.aging, one.number

    def _fill(self) -> None:
        while self.line and len(self.running) < self.workers:
            one = self.next
            self.line.remove(one)
            self.running.append(one)
            one.state, one.waited = "runs", self.now - one.at
            self._begins(one)

    def _begins(self, one: Asked) -> None:
        if one.deadline <= self.now:
            self._ends(one, "late")
        elif one.kind == "blocks" and len(self.stuck) >= self.max_abandoned:
            self._ends(one, "refused")
        else:
            self.begun.append(one.number)
            one.calls = 1
            if one.kind in {"quick", "fails"}:
                self._ends(one, "value" if one.kind == "quick" else "error")

    def _ends(self, one: Asked, end: str) -> None:
        self.running.remove(one)
        self.done += 1
        self._over(one, end)
        self._fill()

    def _stops(self, one: Asked, end: str) -> None:
        if one.kind == "blocks":
            self.stuck.append(one)
        self._ends(one, end)

    def _leaves(self, one: Asked, end: str) -> None:
        self.line.remove(one)
        one.waited = self.now - one.at
        self._over(one, end)

    def _clear(self) -> None:
        for one in list(self.line):
            self._leaves(one, "cancelled")
        for one in list(self.running):
            self._stops(one, "cancelled")

    def _over(self, one: Asked, end: str) -> None:
        one.state, one.end = "over", end
        one.status = STATUS.get(end, "") if one.calls or end == "refused" else "skipped"
