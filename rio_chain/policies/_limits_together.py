"""LimitsTogether: several limits that a call needs at once. It gets all of them or none."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, cast

from attrs import frozen

from rio_chain._core.units import escape_nonprintable
from rio_chain.errors import ChainDefinitionError, LimitExceeded
from rio_chain.policies._limit import Limit
from rio_chain.policies._limit_queue import Arrival, LimitPermit, QueuedCall
from rio_chain.policies._permit import Answer, Call, Clock, PendingPermit, Permit
from rio_chain.policies._plain_data import Data
from rio_chain.policies._policy import Facts, Policy, PolicyBounds


@frozen
class LimitsTogether(Policy):
    """Several limits around one part of a chain, as ``.limit(requests, tokens)``.

    They are taken in the order in which they were made, whatever the order in the call. A call that does not get one of
    them gives back those that it has, and waits in the queue of that one. So a call that waits holds nothing, and two
    calls never wait for each other.
    """

    builder_call = "limit"
    variable = "limits"
    held = "calls"

    members: tuple[Limit, ...]

    @property
    def about_answer(self) -> tuple[tuple[str, Any] | None, ...]:  # type: ignore[override]
        """As ``Policy.about_answer``."""
        asked = tuple(None if limit.actual is None else ("actual", limit.actual) for limit in self.members)
        return asked if any(asked) else ()

    def enter(self, call: Call) -> Permit | PendingPermit | LimitExceeded:
        """Let a call through, put it in the queue of the first limit that is short, or refuse it.

        The ``key`` of the call is a tuple with the Call of each limit.
        """
        calls = cast("tuple[Call, ...]", call.key)
        pending = PendingOfSeveral(self.members, calls, [limit.arrival(call.clock) for limit in self.members])
        got = pending.take(None)
        return pending if got is None else got

    # --- its description ----------------------------------------------------------------------------------------

    def source(self) -> str:
        """As ``Policy.source``. One name is for all of them, as the repr shows objects with state by a name."""
        return ".limit(*limits)"

    def to_dict(self) -> Data:
        """As ``Policy.to_dict``."""
        return {"kind": "limits", "limits": [limit.to_dict() for limit in self.members]}

    def bounds(self, inner: float, _limit: float = math.inf, /) -> PolicyBounds:
        """As ``Policy.bounds``. A call waits in one queue at a time. The patience of each counts from the arrival."""
        return PolicyBounds(max(limit.bounds(inner).time for limit in self.members))

    def facts(self) -> Facts:
        """As ``Policy.facts``."""
        facts = [limit.facts() for limit in self.members]
        places = min((each.places for each in facts if each.places is not None), default=None)
        return Facts(places=places, waits=any(each.waits for each in facts))

    def together(self, members: tuple[Policy, ...]) -> LimitsTogether:
        """As ``Policy.together``."""
        return LimitsTogether(cast("tuple[Limit, ...]", members))

    def awaited(self) -> str:
        """As ``Policy.awaited``."""
        return f"its turn at {', '.join(map(repr, self.members))}"

    def words(self) -> str:
        """As ``Policy.words``."""
        return escape_nonprintable(str(self))

    def __str__(self) -> str:
        return " and ".join(map(str, self.members)) + ", all or none"


class PermitOfSeveral(Permit):
    """A call that was let through by all."""

    __slots__ = ("permits",)

    def __init__(self, permits: list[LimitPermit]) -> None:
        self.permits = permits

    def succeeded(self, value: Any, /) -> None:  # noqa: ARG002 - of the protocol
        """As ``Permit.succeeded``."""
        self.dropped()

    def failed(self, error: Any, /) -> None:  # noqa: ARG002 - of the protocol
        """As ``Permit.failed``."""
        self.dropped()

    def dropped(self) -> None:
        """As ``Permit.dropped``."""
        for permit in self.permits:
            permit.dropped()

    def correct(self, costs: Iterator[float | None]) -> None:
        """As ``LimitPermit.correct``, one cost for each limit."""
        for permit in self.permits:
            permit.correct(costs)


class PendingOfSeveral(PendingPermit):
    """A call that waits in the queue of one limit, for all of them."""

    __slots__ = ("_arrivals", "_at", "_calls", "_limits", "_place", "_woken")

    def __init__(self, limits: tuple[Limit, ...], calls: tuple[Call, ...], arrivals: list[Arrival]) -> None:
        super().__init__()
        self._limits = limits
        self._calls = calls
        self._arrivals = arrivals
        self._place: QueuedCall | None = None
        self._at = 0  # the number of the limit whose queue it is in
        self._woken = False

    def take(self, held: LimitPermit | None) -> PermitOfSeveral | LimitExceeded | None:
        """Take all limits; ``held``: it has that of number ``_at`` already. None: it waits in a queue now.

        Nothing else runs between the first and the last on this thread, so a call never holds one while it waits.
        """
        taken: dict[int, LimitPermit] = {} if held is None else {self._at: held}
        got: LimitPermit | QueuedCall | LimitExceeded | None = None
        k = 0
        try:
            for k, limit in enumerate(self._limits):
                if k not in taken:
                    got = limit.enter_as(self._calls[k], self._arrivals[k])
                    if not isinstance(got, LimitPermit):
                        break
                    taken[k] = got
            else:
                return PermitOfSeveral([taken[k] for k in range(len(self._limits))])
        except BaseException:
            self._undo(taken)
            raise
        self._undo(taken)
        if isinstance(got, LimitExceeded):
            return got
        self._wait_in(k, got)
        return None

    def _undo(self, taken: dict[int, LimitPermit]) -> None:
        for k, permit in taken.items():
            self._limits[k].undo(permit)

    def _wait_in(self, k: int, place: QueuedCall) -> None:
        self._at, self._place, self._woken = k, place, False
        place.wake = self._wake
        self.after = place.after
        if place.offered or place.state != "waiting":  # its turn came before it had a wake
            self._wake()

    def _wake(self) -> None:
        self._woken = True
        self.after = 0.0  # if the engine has not begun to wait, it asks again at once
        self.tell()

    def ask(self, clock: Clock) -> None:
        """As ``PendingPermit.ask``."""
        place = self._place
        if self.state != "waiting" or place is None:
            return
        self._woken = False
        place.ask(clock)
        if place.state == "answered":
            self.answer, self.state = place.answer, "answered"
            return
        held = self._limits[self._at].claim(place, clock) if place.offered else None
        if held is None:
            self.after = 0.0 if self._woken else place.after  # another thread may have offered it since
            return
        got = self.take(held)
        if isinstance(got, LimitExceeded):
            self.answer, self.state = Answer(got, failed=True), "answered"
        elif got is not None:
            self.permit, self.state = got, "granted"

    def quit(self) -> None:
        """As ``PendingPermit.quit``."""
        state, self.state = self.state, "gone"
        if state == "granted":
            for limit, permit in zip(self._limits, cast("PermitOfSeveral", self.permit).permits, strict=True):
                limit.undo(permit)  # the call has not begun
        elif state == "waiting" and self._place is not None:
            self._place.quit()


def limits_together(limits: tuple[object, ...], checked: Callable[[object], Any]) -> Limit | LimitsTogether | Any:
    """Check the arguments of ``.limit``: one limit or Gate, or several limits.

    Raises:
        ChainDefinitionError: one is no ``Limit``, or one is there twice.
    """
    if len(limits) == 1:
        return checked(limits[0])
    members = [checked(limit) for limit in limits]
    if not all(isinstance(limit, Limit) for limit in members):
        raise ChainDefinitionError(
            "`.limit` with several limits takes Limit objects: a Gate of your own can't give back what it has granted; "
            "write .limit(gate).limit(limit)"
        )
    if len(set(map(id, members))) < len(members):
        raise ChainDefinitionError("`.limit` got the same Limit twice; with cost= a call can use more of it")
    return LimitsTogether(tuple(sorted(members, key=lambda limit: limit.number)))
