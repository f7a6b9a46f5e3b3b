"""Policy: the interface of every policy: its decisions and its description. No other module asks for its type."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, Self

from attrs import frozen

from rio_chain._core.units import escape_nonprintable
from rio_chain.policies._permit import Answer, Call, InjectedFault, PendingPermit, Permit

Entered = Permit | PendingPermit | Answer | InjectedFault | Exception
"""What a policy returns to a call that enters it."""


@frozen(kw_only=True)
class Facts:
    """What the chain, the engine and lint need to know about a policy.

    The defaults fit one that only admits or refuses.

    Attributes:
        limit: the most seconds that it allows for what it wraps.
        limit_unknown: it has a limit that depends on the input.
        calls: the most calls that it makes of what it wraps.
        repeats: it calls what it wraps again after a failure.
        repeats_after: the classes of errors after which it does so; empty: all, or those that a predicate selects.
        refuses_values: it may turn a value into a failure.
        shares: one answer may go to several callers.
        keeps_values: a later call may get the value of an earlier one.
        counts_failures: it stops calls to a backend that fails.
        places: how many calls it lets through at once. None if there is no limit, or if it is unknown.
        waits: whether a call may wait for a permit until a timeout around it expires.
        bounds_extras: it limits the retries and hedges inside.
        injects_faults: it makes calls fail, or late, on purpose.
    """

    limit: float = math.inf
    limit_unknown: bool = False
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
    """The bounds of a policy, in seconds, given those of what it wraps.

    Attributes:
        time: the most time that it takes, with all that it wraps.
        slowest: how many of its calls begin within the timeout around it if each takes as long as it may. None if all.
        fastest: how many of its calls begin if each fails at once. None if all.
    """

    time: float
    slowest: int | None = None
    fastest: int | None = None


def repeated(seconds: float, times: int) -> float:
    """``seconds * times``; infinity if that is more than a float can hold."""
    try:
        return seconds * times if seconds else 0.0
    except OverflowError:
        return math.inf


@frozen
class Label:
    """A policy in two or three words, and the kind of colour that it has in a picture."""

    text: str
    tone: Literal["time", "again", "guard", "share", "chaos"] = "guard"


class Policy:
    """The base class of what wraps a part of a chain.

    A subclass overrides what differs. ``docs/how-to/contribute/add-a-policy.md`` shows one in full.
    """

    __slots__ = ()

    builder_call: str
    """The method of a chain that adds it."""
    variable: ClassVar[str] = ""
    """The variable name of an object of this class in source. Default: that of the builder call."""
    needs_task: ClassVar[bool] = True
    """Whether it must wrap a task. Bridges have no Response in which its effect could be reported."""
    asked: ClassVar[bool] = True
    """Whether each call must ``enter`` it."""
    users_code: ClassVar[bool] = False
    """Whether ``enter`` calls the user's code. Then it is called where users' functions are called."""
    held: ClassVar[Literal["run", "race", "calls"]] = "run"
    """How long a permit is held. "run": until what the policy wraps has ended. "race": also until a race around it is
    decided. "calls": also until all blocking calls inside have returned.
    """
    key: Any = None
    """A function of the input that returns the ``key`` of the Call."""
    key_role: ClassVar[str] = "key"
    """What the error says that the ``key`` function is for."""
    cost: Any = None
    """A function of the input that returns the ``cost`` of the Call."""
    about_answer: tuple[tuple[str, Any] | None, ...] = ()
    """Functions of the answer, with their roles. Their results go to ``correct`` of the permit, in this order; None for
    a member that has none.
    """
    members: tuple[Any, ...] = ()
    """The policies that it consists of. Each has a Call; the ``key`` of the Call of the whole is a tuple of these."""
    gathers: int = 0
    """The most calls that it joins into one, which gets a list of their inputs. 0: it joins none."""

    # --- decisions ----------------------------------------------------------------------------------------------

    def enter(self, call: Call, /) -> Entered:  # noqa: ARG002 - most policies use it
        """Let a call through, answer it, make it wait, or refuse it. By default every call is let through."""
        return Permit()

    # --- its description ----------------------------------------------------------------------------------------

    def source(self) -> str:
        """The call that adds it, as source. Shared state is shown by a name, because a new object would be another."""
        return f".{self.builder_call}({self.variable or self.builder_call})"

    def label(self) -> Label:
        """The label of its badge in a picture."""
        return Label(self.builder_call.replace("_", " "))

    def words(self) -> str:
        """The whole policy in words, for ``explain()``."""
        return escape_nonprintable(str(self))

    def awaited(self) -> str:
        """What a waiting call waits for, for the error of a deadlock."""
        return f"its turn at {self!r}"

    def to_dict(self) -> dict[str, Any]:
        """Its settings as plain data, without its state."""
        return {"kind": self.builder_call}

    def bounds(self, inner: float, _limit: float = math.inf, /) -> PolicyBounds:
        """The bounds of this policy around something.

        Args:
            inner: the most seconds that what it wraps takes.
            _limit: the limit around it, in seconds.
        """
        return PolicyBounds(inner)

    def facts(self) -> Facts:
        """The facts that other modules need."""
        return NO_FACTS

    def fresh(self) -> Self:
        """A copy without state, for simulations. A policy without state returns itself."""
        return self

    def together(self, members: tuple[Policy, ...], /) -> Policy:  # noqa: ARG002 - of policies with members
        """The same policy with these members."""
        return self
