"""The instructions of a program, and their parts.

An instruction is a tuple that begins with its opcode. TASK and BRIDGE are plain tuples: the interpreter unpacks them at
every step, and that takes three times as long with a NamedTuple. Elsewhere they are read as ``TaskOp.of(op)``. All
others are NamedTuples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Self, cast

from attrs import frozen

from rio_chain._core.source_text import name_of
from rio_chain.chain._plan import Node, PlannedBridge
from rio_chain.policies import Policy, Replica
from rio_chain.policies._batch import Batch

INF = float("inf")
FULL = -1  # the depth that enters all layers

# opcodes
TASK, BRIDGE, ENTER, ADMIT, LEAVE, FAN, RACE, JUMP, CONSTANT, HANDLER, END = range(11)
KEEP, USE, CHOOSE, EACH, EXPAND, RACED, BATCH, PIECE = range(11, 19)
RECALL, RECORD, NOTE = range(19, 22)  # only in the programs of runs with a journal
# routes: how a function is called
PLACE, DIRECT, ASYNC, CALL, LANE = range(5)  # from CALL on, a thread or process is reserved first
PIN = 5  # as CALL, for a function that is not a task: on the loops, too, a thread is reserved
# how a value is used: an ``each`` iterates what bridges make of it, or the value itself
BRIDGED, ITERATED = 1, 2

LEARNED = object()
"""The delay of a race whose delays are those of a ``Quantile``, or of a function."""

Op = tuple[Any, ...]


# --- what instructions are made of ------------------------------------------------------------------------------


@frozen
class Args:
    """An input of several values: that of the first functions of a run that was not called with exactly one positional
    argument, and that of a task with ``.using``.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@frozen
class Spread:
    """A function that gets an ``Args`` as its arguments."""

    fn: Callable[..., Any]

    @property
    def __name__(self) -> str:
        """The name of the function, for errors."""
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
    shared: bool = False  # its answers may also be held by a cache, or by calls that share a flight
    keeps: tuple[int, ...] = ()  # the places of the values in it that later tasks use
    name: str = ""  # in events: its key or number in each fan-out around it


@frozen
class Fallback:
    """The layer of an ``or_else``: on a failure the run goes on at ``handler``. With ``error`` its input is the error,
    and with ``both`` the error and the input of the primary. ``number``: its number among those of the plan.
    """

    handler: int
    error: bool
    on: Any = Exception
    both: bool = False
    number: int = 0

    def given(self, error: Any, value: Any) -> Any:
        """The input of the handler; ``value`` is the input of the primary."""
        if not self.error:
            return value
        if not self.both:
            return error
        return Args((error, *value.args), value.kwargs) if type(value) is Args else Args((error, value), {})


Layer = Policy | Fallback


class JournalPart(NamedTuple):
    """A part whose answer, or whose way, is in the journal: a task, a race, a ``choose``, an ``or_else``."""

    label: str
    low: int
    high: int
    """Its tasks: the first, and the one after the last."""
    pc: int
    """The place of its RECALL."""
    slot: int
    """The place among the kept values where RECALL leaves the digest of the input for RECORD."""
    used: tuple[int, ...] = ()
    """The places of the kept values that are input as well."""
    keeps: tuple[int, ...] = ()
    """The places of the values that are kept in it."""
    name: str = ""
    """For errors."""
    ways: tuple[int, ...] = ()
    """For each way: where it begins."""
    whole: bool = False
    """Nothing in it is recorded by itself, as it is a race or the like."""
    jump: int = -1
    """For the fallback that is a function: where the walk goes on after it."""


# --- instructions -----------------------------------------------------------------------------------------------


class TaskOp(NamedTuple):
    """TASK: call the function of a task. Its layers are the policies directly around it, innermost first."""

    code: int
    route: int
    fn: Callable[..., Any]
    task: int
    """Its number in the plan."""
    limits: tuple[float, ...]
    """The limit in seconds after this many layers are entered; the last one, at ``FULL``, is for all of them."""
    layers: tuple[Layer, ...]
    plain: bool
    """No layer checks the answer."""

    @classmethod
    def of(cls, op: Op) -> Self:
        """Give the fields of a plain tuple their names."""
        return cls._make(op)


class BridgeOp(NamedTuple):
    """BRIDGE: call a function between two tasks."""

    code: int
    route: int
    fn: Callable[..., Any]
    bridge: PlannedBridge

    @classmethod
    def of(cls, op: Op) -> Self:
        """Give the fields of a plain tuple their names."""
        return cls._make(op)


class EnterOp(NamedTuple):
    """ENTER: enter policies around the tasks ``low`` up to ``high``. ADMIT is an ENTER that may have to wait."""

    code: int
    layers: tuple[Layer, ...]
    low: int
    high: int
    leave_at: int
    """Where its LEAVE is."""
    outside: tuple[int, ...]
    """The places of kept values that its tasks use and that are made before it."""
    alone: int
    """From this layer outwards, a cache or another call may hold the answer as well."""


def entering(op: Op) -> EnterOp:
    """An ENTER or ADMIT, with its type."""
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
    time_limit: float | None
    after: int
    """Where the walk goes on."""


class RaceOp(NamedTuple):
    """RACE: run the branches on the same input; one wins. The first branch follows it, up to its RACED."""

    code: int
    branches: tuple[Branch, ...]
    replica: Replica
    hedge: bool
    """Its branches are calls of the same chain, and not different chains."""
    quick: bool
    """If the first call answers in time, its answer needs no check, and it holds no permit of a limit."""
    delay: Any
    """Seconds until the second call is due. None if time starts no call. With ``LEARNED``, ask ``delays_of``."""
    low: int
    high: int
    """The tasks of all branches: the first, and the one after the last."""


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
    """Its place in the chain, for errors."""
    maker: int | None
    """The task whose value is iterated, if it is right before this."""
    source: PlannedBridge
    """The place that gives the value in all other cases."""
    folded: tuple[Any, PlannedBridge] | None
    """The ``reduce`` right after it, and its place."""
    after: int


class BatchOp(NamedTuple):
    """BATCH: join the calls that become one call of the branch, and wait for a part of its answer."""

    code: int
    branch: Branch
    policy: Batch
    part: BatchedPart
    outside: tuple[int, ...]
    """The places of kept values that its tasks use and that come from before it."""
    after: int


class BatchedPart:
    """What a batch is around. Calls of equal parts join each other, whatever else is in their chains."""

    __slots__ = ("_hash", "node")

    def __init__(self, node: Node) -> None:
        self.node = node
        try:
            self._hash = hash(node)
        except Exception:  # noqa: BLE001 - of a user's object in it
            self._hash = 0

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        try:
            return isinstance(other, BatchedPart) and (self.node is other.node or bool(self.node == other.node))
        except Exception:  # noqa: BLE001 - of a user's constant in it
            return False


class ChooseOp(NamedTuple):
    """CHOOSE: go on with the first branch whose test matches the value."""

    code: int
    tests: tuple[Any, ...]
    starts: tuple[int, ...]
    bounds: tuple[tuple[int, int], ...]
    """The tasks of each branch: the first, and the one after the last."""
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
    """No cache or other call may hold the answer that was refused."""


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
    """END: the last instruction.

    With another opcode it reserves the place of an instruction that is completed later.
    """

    code: int = END


class RecallOp(NamedTuple):
    """RECALL: go on behind the part with the recorded answer, or on the recorded way. Else go on here."""

    code: int
    part: JournalPart
    to: int


class RecordOp(NamedTuple):
    """RECORD: record the value as the answer of the part."""

    code: int
    part: JournalPart


class NoteOp(NamedTuple):
    """NOTE: record that the part goes on this way."""

    code: int
    part: JournalPart
    way: int


@frozen
class Program:
    """The instructions of a plan for one kind of runtime."""

    ops: tuple[Op, ...]
    length: int
    limited: bool  # the outermost layer of the whole chain is a timeout
    kept: int  # the number of values kept for later tasks
    pieces: tuple[Branch, ...] = ()  # where each piece is, in a program that a worker of a cluster runs parts of
