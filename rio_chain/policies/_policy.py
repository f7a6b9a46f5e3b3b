"""Policy: what every policy decides and says of itself. The other modules ask it, whichever policy it is."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, Self

from attrs import frozen

from rio_chain._core.units import escape_nonprintable
from rio_chain.policies._permit import Answer, Call, InjectedFault, PendingPermit, Permit

Entered = Permit | PendingPermit | Answer | InjectedFault | Exception
"""What a policy answers to a call that asks to be let in."""


@frozen(kw_only=True)
class Facts:
    """What the chain, the engine and lint have to know of a policy. The defaults fit one that lets calls in or not.

    Attributes:
        limit: the most seconds that it gives to what it wraps.
        calls: how often it calls what it wraps, at most.
        repeats: it calls what it wraps again when that has failed.
        repeats_after: the classes of errors after which it does so; none: all, or those that a predicate names.
        refuses_values: it may make a failure of a value.
        shares: one answer may go to several callers.
        keeps_values: a later call may get the value of an earlier one.
        counts_failures: it stops calling a backend that fails.
        places: how many calls it lets in at once; None: any number, or unknown.
        waits: a call may wait to be let in for as long as the limits around allow.
        bounds_extras: it bounds the retries and hedges inside.
        injects_faults: it makes calls fail, or late, on purpose.
    """

    limit: float = math.inf
    calls: int = 1
    repeats: bool = False
    repeats_after: tuple[type[BaseException], ...] = ()
    refuses_values: bool = False
    shares: bool = False
    keeps_values: bool = False
    counts_failures: bool = False
    places: int | None = None
    waits: bool = False
    bounds_extras: bool = False
    injects_faults: bool = False


NO_FACTS = Facts()


@frozen
class PolicyBounds:
    """What a policy makes of the time that it wraps, in seconds.

    Attributes:
        time: the most that it takes, with all that it wraps.
        slowest: how many of its calls begin within the limit around it when each takes as long as it may; None: all.
        fastest: how many begin when each fails at once; None: all.
    """

    time: float
    slowest: int | None = None
    fastest: int | None = None


def repeated(seconds: float, times: int) -> float:
    """So often so long; more than a float can hold is infinity."""
    try:
        return seconds * times if seconds else 0.0
    except OverflowError:
        return math.inf


@frozen
class Label:
    """A policy in two or three words, and the tone of their colour in a picture."""

    text: str
    tone: Literal["time", "again", "guard", "share", "chaos"] = "guard"


class Policy:
    """What may be around a part of a chain.

    A subclass overrides what it knows better. ``docs/how-to/contribute/add-a-policy.md`` shows one in full.
    """

    __slots__ = ()

    builder_call: str
    """The method of a chain that puts it around something."""
    variable: ClassVar[str] = ""
    """The name that an object of this class goes by in source. Default: that of the builder call."""
    needs_task: ClassVar[bool] = True
    """Whether it can't be around bridges alone: they have no Response that could say what it did."""
    asked: ClassVar[bool] = True
    """Whether calls have to be let in by ``enter``."""
    users_code: ClassVar[bool] = False
    """Whether ``enter`` calls the user's code: it is then called as users' functions are."""
    held: ClassVar[Literal["run", "race", "calls"]] = "run"
    """How long a permit is held: until what it wraps has ended; until a race around it is decided, too; until all
    blocking calls inside have returned, too.
    """
    key: Any = None
    """A function of the input that gives the ``key`` of the Call."""
    gathers: int = 0
    """How many calls it makes one of, at most: what it wraps gets their inputs as one list. 0: it does not."""

    # --- decisions ----------------------------------------------------------------------------------------------

    def enter(self, call: Call, /) -> Entered:  # noqa: ARG002 - most look at it
        """Let a call in, answer it, make it wait, or refuse it. By default every call is let in."""
        return Permit()

    # --- what it says of itself ---------------------------------------------------------------------------------

    def source(self) -> str:
        """The call that puts it around what is to its left. Shared state goes by a name: a new object counts anew."""
        return f".{self.builder_call}({self.variable or self.builder_call})"

    def label(self) -> Label:
        """What is on its badge."""
        return Label(self.builder_call.replace("_", " "))

    def words(self) -> str:
        """All of it in words, for ``explain()``."""
        return escape_nonprintable(str(self))

    def awaited(self) -> str:
        """What a call waits for that it has not let in, for the error of a deadlock."""
        return f"its turn at {self!r}"

    def to_dict(self) -> dict[str, Any]:
        """What it was made with, as plain data, without its state."""
        return {"kind": self.builder_call}

    def bounds(self, inner: float, _limit: float = math.inf, /) -> PolicyBounds:
        """What it makes of the time that it wraps.

        Args:
            inner: the most seconds that what it wraps takes.
            _limit: the limit around it, in seconds.
        """
        return PolicyBounds(inner)

    def facts(self) -> Facts:
        """What the others have to know of it."""
        return NO_FACTS

    def fresh(self) -> Self:
        """The same without what it has seen, for simulations. What keeps no state is itself."""
        return self
