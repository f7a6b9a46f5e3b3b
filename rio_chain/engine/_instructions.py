"""The instructions of a program, and what they are made of.

An instruction is a tuple with its opcode first. TASK and BRIDGE are plain tuples: the interpreter unpacks them at every
step, and that takes three times as long with a NamedTuple. Off that path they are read as ``TaskOp.of(op)``. All others
are NamedTuples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self, cast

from attrs import frozen

from rio_chain._core.source_text import name_of
from rio_chain.chain._plan import PlannedBridge
from rio_chain.policies import Policy, Replica

INF = float("inf")
FULL = -1  # the depth that enters all layers

# opcodes
TASK, BRIDGE, ENTER, ADMIT, LEAVE, FAN, RACE, JUMP, CONSTANT, HANDLER, END = range(11)
KEEP, USE, CHOOSE, EACH, EXPAND, RACED, PIECE = range(11, 18)
# routes: how a function is called
PLACE, DIRECT, ASYNC, CALL, LANE = range(5)  # from CALL on, something is reserved first
PIN = 5  # CALL, for what is no task: a thread is reserved there as well, also on the loops
# what becomes of a value: an ``each`` iterates what bridges make of it, or itself
BRIDGED, ITERATED = 1, 2

LEARNED = object()
"""Stands for a delay that a ``Quantile`` gives."""

Op = tuple[Any, ...]


# --- what instructions are made of ------------------------------------------------------------------------------


@frozen
class Args:
    """An input that is more than one value: that of the first functions of a run that was not called with exactly one
    positional argument, and that of a task with ``.using``.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@frozen
class Spread:
    """A function that gets such an input as its arguments."""

    fn: Callable[..., Any]

    @property
    def __name__(self) -> str:
        """That of the function, for errors."""
        return name_of(self.fn)

    def __call__(self, given: Args) -> Any:
        """Call it."""
        return self.fn(*given.args, **given.kwargs)


@frozen
class InLane:
    """A function that runs in a process of a lane; ``name`` is that of its task."""

    lane: str
    name: str
    fn: Callable[..., Any]


class Branch(NamedTuple):
    """One branch of a fan-out: its instructions ``start`` up to ``stop``, its tasks ``low`` up to ``high``."""

    start: int
    stop: int
    low: int
    high: int
    shared: bool = False  # others may hold its answers too: a cache, or who follows in a flight
    keeps: tuple[int, ...] = ()  # the places of the values in it that later tasks use
    name: str = ""  # in events: its key or number in each fan-out around it


@frozen
class Fallback:
    """The layer that catches: on a failure the run goes on at ``handler``; with ``error`` its input is the error, and
    with ``both`` the error and what the primary was called with.
    """

    handler: int
    error: bool
    on: Any = Exception
    both: bool = False

    def given(self, error: Any, value: Any) -> Any:
        """What the handler gets; ``value`` is the input of the primary."""
        if not self.error:
            return value
        if not self.both:
            return error
        return Args((error, *value.args), value.kwargs) if type(value) is Args else Args((error, value), {})


Layer = Policy | Fallback


# --- instructions -----------------------------------------------------------------------------------------------


class TaskOp(NamedTuple):
    """TASK: call the function of a task. Its layers are the policies directly around it, innermost first."""

    code: int
    route: int
    fn: Callable[..., Any]
    task: int
    """Its number in the plan."""
    limits: tuple[float, ...]
    """The limit in seconds with so many layers entered; the last one, at ``FULL``, with all of them."""
    layers: tuple[Layer, ...]
    plain: bool
    """No layer looks at the answer."""

    @classmethod
    def of(cls, op: Op) -> Self:
        """A plain tuple with the names of its fields."""
        return cls._make(op)


class BridgeOp(NamedTuple):
    """BRIDGE: call a function between two tasks."""

    code: int
    route: int
    fn: Callable[..., Any]
    bridge: PlannedBridge

    @classmethod
    def of(cls, op: Op) -> Self:
        """A plain tuple with the names of its fields."""
        return cls._make(op)


class EnterOp(NamedTuple):
    """ENTER: enter policies around the tasks ``low`` up to ``high``. ADMIT: the same, and some of them may wait."""

    code: int
    layers: tuple[Layer, ...]
    low: int
    high: int
    leave_at: int
    """Where its LEAVE is."""
    outside: tuple[int, ...]
    """The places of kept values that its tasks use and that come from before it."""
    alone: int
    """From this layer on outwards, others may hold the answer as well."""


def entering(op: Op) -> EnterOp:
    """An ENTER or ADMIT, by its type."""
    return cast("EnterOp", op)


class LeaveOp(NamedTuple):
    """LEAVE: leave the policies that the ENTER at this place has entered."""

    code: int
    entered_at: int


class FanOutOp(NamedTuple):
    """FAN: run the branches on the same input, together."""

    code: int
    branches: tuple[Branch, ...]
    keys: tuple[str, ...] | None
    settle: bool
    need: int | None
    after: int
    """Where the walk goes on."""


class RaceOp(NamedTuple):
    """RACE: run the branches on the same input; one wins. The first follows it, up to its RACED."""

    code: int
    branches: tuple[Branch, ...]
    replica: Replica
    hedge: bool
    """They are calls of one chain, and not chains of their own."""
    quick: bool
    """If the first call answers in time, nobody has to look at the answer, and no permit of a limit is held for it."""
    delay: Any
    """Seconds until the second call is due; None: it never is by being late; ``LEARNED``: the replica is asked."""
    low: int
    high: int
    """The tasks of all branches, from and up to."""


class RacedOp(NamedTuple):
    """RACED: the call of a race that runs in the strand has answered."""

    code: int
    after: int
    """Where the walk goes on."""


class ItemsOp(NamedTuple):
    """EACH and EXPAND: run a branch for many items."""

    code: int
    branch: Branch
    node: Any
    """The ``Each`` or ``Expand``."""
    joint: PlannedBridge
    """Its place, for errors."""
    maker: int | None
    """The task whose value is iterated, if that stands right before it."""
    source: PlannedBridge
    """Where else the value comes from."""
    folded: tuple[Any, PlannedBridge] | None
    """The ``reduce`` right after it, and its place."""
    after: int


class ChooseOp(NamedTuple):
    """CHOOSE: go on with the branch whose test is true of the value."""

    code: int
    tests: tuple[Any, ...]
    starts: tuple[int, ...]
    bounds: tuple[tuple[int, int], ...]
    """The tasks of each branch, from and up to."""
    joint: PlannedBridge


class PieceOp(NamedTuple):
    """PIECE: run a part of the program in one remote call."""

    code: int
    number: int
    """Which piece of the plan it is."""
    low: int
    high: int
    """Its tasks, from and up to."""
    needs: tuple[int, ...]
    """The places of kept values that its tasks use and that come from before it."""
    keeps: tuple[int, ...]
    """The places of the values that are kept in it."""
    holds: bool = False
    """Only other pieces get its value, so that may stay where it is."""


class JumpOp(NamedTuple):
    """JUMP: go on elsewhere. The tasks ``low`` up to ``high`` are not needed."""

    code: int
    to: int
    low: int
    high: int


class HandlerOp(NamedTuple):
    """HANDLER: call the function of a fallback with the error."""

    code: int
    route: int
    fn: Callable[..., Any]
    alone: bool
    """Nobody else may hold the answer that was refused."""


class ConstantOp(NamedTuple):
    """CONSTANT: a fallback's value."""

    code: int
    value: Any


class KeepOp(NamedTuple):
    """KEEP: keep the value for later tasks."""

    code: int
    place: int


class UseOp(NamedTuple):
    """USE: give kept values to the next task, each with its keyword and its place."""

    code: int
    used: tuple[tuple[str, int | None], ...]


class EndOp(NamedTuple):
    """END: there is nothing after it. With another opcode: the place of an instruction that is completed later."""

    code: int = END
