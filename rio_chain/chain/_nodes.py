"""The nodes that a chain is made of, and the walks over them. Pure data, nothing runs here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from attrs import evolve, field, frozen

from rio_chain._renamed import names_today
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies import AtLeast, Chooser, Policy, Quantile
from rio_chain.policies._keys import Key
from rio_chain.policies._match_errors import Match

# --- nodes ------------------------------------------------------------------------------------------------------
# Functions and constants stay outside hashes: they may be unhashable, and equal nodes must have equal hashes.


@frozen
class TaskNode:
    """A task: the user's function and how to call it."""

    fn: Callable[..., Any] = field(hash=False)
    name: str
    is_async: bool
    inline: bool = False
    explicit: bool = False  # the user gave the name; no other task in a plan may then have it
    lane: str | None = None  # the processes that it runs in
    origin: bytes = field(default=b"", eq=False, repr=False)
    uses: tuple[Use, ...] = ()
    generator: bool = False  # what it gives is iterated by the ``each`` right after it
    resources: tuple[tuple[str, float], ...] = ()  # that a worker of a cluster must have


@frozen
class Use:
    """A keyword input of a task: the value of ``source``, a node upstream, as ``.using(keyword=source)`` says.

    In a Plan ``kept`` is the number of the ``Kept`` node that it has been found to mean.
    """

    keyword: str
    source: Node = field(eq=False, repr=False)
    kept: int | None = None


@frozen
class Bridge:
    """A plain or async function between two tasks."""

    fn: Callable[..., Any] = field(hash=False)
    name: str
    is_async: bool
    generator: bool = False


@frozen
class Then:
    """``left >> right`` as it was written: only while a chain is being built. A Plan holds ``Seq`` in its place."""

    left: Node
    right: Node


@frozen
class Seq:
    """Steps one after the other: the value of each is the argument of the next. Never holds a ``Seq`` or one step."""

    steps: tuple[Node, ...]


@frozen
class FanOutNode:
    """Every branch gets the same input; one tuple is handed on or, with keys, one dict.

    ``settle``: all are waited for, and what is handed on are their Results. ``need``: so many are enough.
    """

    branches: tuple[Node, ...]
    keys: tuple[str, ...] | None = None
    settle: bool = False
    need: int | None = None


@frozen
class RaceNode:
    """Several calls on the same input, of which one wins: ``.replica`` (a hedge) and ``race``.

    Call ``i`` of ``count`` runs branch ``i % len(branches)``, and begins ``after`` seconds (or as a ``Quantile`` says)
    after the one before it was started, or as soon as one has failed. 0: all at once; infinity: one at a time. The
    tasks of a branch stand once in a plan, however often the branch is called.
    """

    branches: tuple[Node, ...]
    count: int
    after: float | Quantile
    pick: Chooser = field(hash=False)
    hedge: bool


@frozen
class Constant:
    """A fallback that is a value; it is copied at each use."""

    value: Any = field(hash=False)


@frozen
class Handler:
    """A fallback that is a function of the error or, with ``inputs``, of that and what the primary was called with."""

    fn: Callable[..., Any] = field(hash=False)
    name: str
    is_async: bool
    inputs: bool = False

    def __str__(self) -> str:
        return f"{self.name}({'error, input' if self.inputs else 'error'})"


@frozen
class OrElse:
    """``primary | fallback``: a fallback node gets the same input, a Handler the error and maybe the input too.

    ``on``: the errors for which it stands in; any other is the failure of the whole.
    """

    primary: Node
    fallback: Node | Handler | Constant
    on: Match = field(default=Exception, hash=False)


@frozen
class Scope:
    """A policy around what stands to its left."""

    policy: Policy
    inner: Node


@frozen
class Named:
    """A label for a whole chain; a task has its own name in its TaskNode."""

    name: str
    inner: Node


@frozen
class Each:
    """``inner`` for every item of the value, at most ``limit`` at once; a list is handed on.

    ``on_error``: whether one item's failure is that of the whole, and if not, what stands for it.
    """

    inner: Node
    limit: int
    ordered: bool
    on_error: OnError


@frozen
class Expand:
    """``inner`` for the value, for each of what ``more`` finds in its result, and so on until nothing is left."""

    inner: Node
    limit: int
    depth: int | None
    total: int
    more: Callable[[Any], Any] | None = field(hash=False)
    key: Key = field(hash=False)
    on_error: OnError
    on_limit: Literal["raise", "stop"]


@frozen
class Choose:
    """The first branch whose test is true of the value; a branch more than there are tests is for all other values."""

    tests: tuple[Any, ...] = field(hash=False)  # classes, tuples of them, and predicates
    branches: tuple[Node, ...]


@frozen
class Kept:
    """A node whose value a task further down uses: only in a Plan. ``place`` is its number among the kept ones."""

    place: int
    inner: Node


@frozen
class Piece:
    """A part of a chain that runs in one remote call: only in a Plan that was cut for a cluster (``_pieces``)."""

    inner: Node


Node = (
    TaskNode
    | Bridge
    | Then
    | Seq
    | FanOutNode
    | RaceNode
    | OrElse
    | Scope
    | Named
    | Each
    | Expand
    | Choose
    | Kept
    | Piece
)
Head = TaskNode | Bridge | Each | Expand | Choose | Handler
"""What takes the arguments of a chain; a Handler takes the error before them."""
OnError = Literal["raise", "keep", "drop"] | AtLeast


# --- walks ------------------------------------------------------------------------------------------------------


def parts(node: Node) -> tuple[Node, ...]:
    """The nodes right below, in plan order: left to right, primary before fallback, branches in order."""
    if isinstance(node, (TaskNode, Bridge)):
        return ()
    if isinstance(node, (Scope, Named, Each, Expand, Kept, Piece)):
        return (node.inner,)
    if isinstance(node, Seq):
        return node.steps
    if isinstance(node, Then):
        return (node.left, node.right)
    if isinstance(node, (FanOutNode, RaceNode, Choose)):
        return node.branches
    return (node.primary,) if isinstance(node.fallback, (Handler, Constant)) else (node.primary, node.fallback)


def with_parts(node: Node, inner: tuple[Node, ...]) -> Node:
    """The node with other nodes right below, as many as ``parts`` gives."""
    if isinstance(node, (TaskNode, Bridge)):
        return node
    if isinstance(node, Seq):
        return Seq(inner)
    if isinstance(node, Then):
        return Then(*inner)
    if isinstance(node, (FanOutNode, RaceNode, Choose)):
        return evolve(node, branches=inner)
    if isinstance(node, OrElse):
        return evolve(node, primary=inner[0], fallback=inner[1] if len(inner) > 1 else node.fallback)
    return evolve(node, inner=inner[0])


def walk(node: Node) -> Iterator[Node]:
    """The node and all below it, depth first in plan order, one for each occurrence."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(parts(node)))


def heads(node: Node) -> Iterator[Head]:
    """What gets the arguments of a chain: its first function, or one for each branch and fallback it begins with."""
    stack: list[Node | Handler] = [node]
    while stack:
        one = stack.pop()
        if isinstance(one, Head):
            yield one
        elif isinstance(one, (Then, Seq)):
            stack.append(parts(one)[0])
        else:
            if isinstance(one, OrElse) and isinstance(one.fallback, Handler) and one.fallback.inputs:
                stack.append(one.fallback)
            stack.extend(reversed(parts(one)))


def call_of(node: FanOutNode | RaceNode | Each | Expand | Choose) -> str:
    """What it is called in source."""
    if isinstance(node, (Each, Expand, Choose)):
        return type(node).__name__.lower()
    if isinstance(node, RaceNode):
        return "replica" if node.hedge else "race"
    return "settle" if node.settle else "fan_out"


def unwrapped(node: Node) -> Node:
    """The node without the policies and labels around it; a hedge of one chain is such a policy."""
    while isinstance(node, (Scope, Named, Kept)) or is_hedge_of_one(node):
        node = parts(node)[0]
    return node


def labelled(node: Node, name: str) -> TaskNode | Named:
    """The node under a name: a task carries its own, and the name right around another one takes its place."""
    if isinstance(node, TaskNode):
        return evolve(node, name=name, explicit=True)
    return Named(name, node.inner if isinstance(node, Named) else node)


def is_hedge_of_one(node: Node) -> TypeGuard[RaceNode]:
    """Whether it is ``.replica`` of one chain, which stands around it as a policy does."""
    return isinstance(node, RaceNode) and node.hedge and len(node.branches) == 1


# --- rules ------------------------------------------------------------------------------------------------------


Given = tuple[str, TaskNode | None]
"""A name that was given by hand: to a task, or to a longer chain."""


def given_names(node: Node) -> Iterator[Given]:
    """Every name that was given by hand, one for each occurrence."""
    for one in walk(node):
        if isinstance(one, Named):
            yield one.name, None
        elif isinstance(one, TaskNode) and one.explicit:
            yield one.name, one


def unique_names(given: Iterable[Given]) -> dict[str, TaskNode | None]:
    """The names, each once.

    Raises:
        ChainDefinitionError: one of them was given to two different parts of a chain.
    """
    found: dict[str, TaskNode | None] = {}
    for name, task in given:
        if name in found and not _same_task(found[name], task):
            raise ChainDefinitionError(
                f"`.named({name!r})` is used twice in one chain; a name given by hand must be unique, "
                "unless it is that of one Task which occurs several times"
            )
        found[name] = task
    return found


def _same_task(one: TaskNode | None, other: TaskNode | None) -> bool:
    """Whether it is one Task, or Tasks of one function, as those that the source of a chain makes."""
    if one is None or other is None:
        return False
    return one.origin == other.origin != b"" or one.fn == other.fn


def flat(node: Node) -> Node:
    """The same chain with each nest of ``Then`` as one ``Seq``, so that brackets around ``>>`` make no difference.

    What a plan has found out about ``.using`` is forgotten: it holds for that plan alone.
    """
    if isinstance(node, (Then, Seq)):
        return Seq(tuple(_steps(node)))
    if isinstance(node, Scope):  # by far the most frequent, and `evolve` costs several times as much
        return Scope(node.policy, flat(node.inner))
    if isinstance(node, (Kept, Piece)):
        return flat(node.inner)
    if isinstance(node, TaskNode) and node.uses:
        return evolve(node, uses=tuple(evolve(use, kept=None) for use in node.uses))
    return with_parts(node, tuple(flat(part) for part in parts(node)))


def _steps(node: Node) -> Iterator[Node]:
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, (Then, Seq)) or (isinstance(node, (Kept, Piece)) and isinstance(node.inner, (Then, Seq))):
            stack.extend(reversed(parts(node)))
        else:
            yield flat(node)


if not TYPE_CHECKING:
    __getattr__ = names_today(__name__, {"Call": "TaskNode"})
