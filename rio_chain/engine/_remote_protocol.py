"""What goes to a worker of a cluster and comes back: one call of a piece of a plan, and its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, cast

from attrs import define, field

if TYPE_CHECKING:
    from rio_chain.chain._plan import Plan
    from rio_chain.results._task_record import Log

Ending = Literal["value", "failed", "raised", "stopped", "lost"]
"""How a piece ended: with a value; with an error; with a ``BaseException`` of a body; interrupted by a limit around it
or by the client; or not at all, as its worker, the scheduler or its pickle was lost.
"""


class PieceInput(NamedTuple):
    """What a worker needs to run a piece, apart from its plan."""

    number: int
    """Which piece of the plan it is, or ``ASKED``."""
    spread: bool
    """Whether the run was called with other than one positional argument: the worker's program is made for that."""
    value: Any
    kept: tuple[tuple[int, Any], ...]
    """Values of tasks before it that ``.using`` hands to its tasks, by their place."""
    seconds_left: float
    """Until the earliest limit around it, when it was sent."""
    rounds: int
    """Retries around it whose calls have another log."""
    calls: tuple[int, ...]
    """That its tasks have made in earlier rounds; empty where they have made none."""
    replica: int
    way: tuple[bytes | int | str, ...]
    """From the outermost run to its first task, for the idempotency key."""
    observed: bool
    """Whether it reports what happens in it."""
    values: bool
    """Whether that has the values."""
    context: bytes
    """What gives its functions the headers of a trace; empty if there is none."""
    holds: bool
    """Whether its value may stay on the worker: then a ``Held`` replaces it here."""


@define(eq=False)
class PieceCall:
    """One call of a piece that is on its way. The client keeps it."""

    plan: Plan
    """Of the run: it is cut here and there."""
    given: PieceInput
    name: str
    """Of its tasks, for errors."""
    priority: float
    wake: Callable[[], None]
    """To be called when there is an answer, from any thread."""
    answer: PieceAnswer | None = None
    begun: int = 0
    """How often a worker has begun it: more than once, where a worker died."""
    cancelled: bool = False


@define
class PieceAnswer:
    """What a worker says of a piece. Times are on the clock of the worker."""

    ending: Ending
    value: Any = None
    """The value, or the error."""
    log: Log = field(factory=list[Any])
    """Of its tasks."""
    kept: tuple[tuple[int, Any], ...] = ()
    times: tuple[float, float] = (0.0, 0.0)
    """When it began and ended there."""
    events: tuple[Any, ...] = ()


class Held:
    """A handle in the client for a value that is on a worker. The value is there as long as the handle exists.

    Attributes:
        keeper: the object that keeps the value there.
        shown: what a user sees in place of the value.
    """

    __slots__ = ("keeper", "shown")

    def __init__(self, keeper: Any, shown: object = None) -> None:
        self.keeper = keeper
        self.shown = shown


def holds(value: Any) -> bool:
    """Whether a handle is in it: itself, or as a part of what fan-outs have joined."""
    if type(value) is Held:
        return True
    return any(map(holds, _parts(value)))


def _parts(value: Any) -> Iterable[Any]:
    """The values that a fan-out has joined to this one."""
    kind = cast("object", type(value))
    if kind is dict:
        values: Iterable[Any] = value.values()
        return values
    return value if kind is tuple else ()


def shown(value: Any) -> Any:
    """The value as a user sees it, without the handles in it."""
    if not holds(value):
        return value
    kind = cast("object", type(value))
    if kind is Held:
        return value.shown
    parts = [shown(one) for one in _parts(value)]
    return dict(zip(value, parts, strict=True)) if kind is dict else tuple(parts)


class Question(NamedTuple):
    """A predicate or score that a worker calls, because one of its arguments is there. It is the input of a piece."""

    role: str
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    truth: bool
    """Whether the answer is made a bool."""


ASKED = -1
"""The number of a piece that is a ``Question``."""


class Remote(Protocol):
    """Where pieces run."""

    def check(self, plan: Plan) -> None:
        """Refuse a plan that can't run there.

        Raises:
            ChainDefinitionError, NotPicklable: the text names the part of the chain and says what to do.
        """
        ...

    @property
    def slots(self) -> int:
        """How many pieces may run at once."""
        ...

    def send(self, calls: Sequence[PieceCall], *, until_failure: bool = False) -> None:
        """Run these calls of one piece one after the other. Each gets an answer in any case, unless its loop ends.

        ``until_failure``: when one has failed, those after it are not made, and are ``stopped``.
        """
        ...

    def cancel(self, call: PieceCall) -> None:
        """Stop it: it gets an answer within about a second, whatever its worker does."""
        ...
