"""The nodes of a chain, and functions that traverse them. Nodes are data; nothing here runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeGuard

from attrs import evolve, field, frozen

from rio_chain._renamed import names_today
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies import AtLeast, Chooser, Policy
from rio_chain.policies._delays import Delay
from rio_chain.policies._keys import Key
from rio_chain.policies._match_errors import Match

# --- nodes ------------------------------------------------------------------------------------------------------
# Functions and constants are not part of a hash: they may be unhashable, and equal nodes must have equal hashes.


@frozen
class TaskNode:
    """A task: the user's function and how to call it."""

    fn: Callable[..., Any] = field(hash=False)
    name: str
    is_async: bool
    inline: bool = False
    explicit: bool = False  # the user gave the name; then no other task in a plan may have it
    lane: str | None = None  # the lane that it runs in
    origin: bytes = field(default=b"", eq=False, repr=False)
    uses: tuple[Use, ...] = ()
    generator: bool = False  # the ``each`` right after it iterates its result
    resources: tuple[tuple[str, float], ...] = ()  # that a worker of a cluster must have


@frozen
class Use:
    """A keyword input of a task, from ``.using(keyword=source)``: the value of ``source``, a node upstream.

    In a Plan ``kept`` is the number of the ``Kept`` node that ``source`` refers to.
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
    """``left >> right`` as it was written, while a chain is being built. A Plan has ``Seq`` instead."""

    left: Node
    right: Node


@frozen
class Seq:
    """Steps in sequence: the value of each is the argument of the next. Never contains a ``Seq`` or a single step."""

    steps: tuple[Node, ...]


@frozen
class FanOutNode:
    """Every branch gets the same input. The result is one tuple or, with keys, one dict.

    ``settle``: wait for all branches and give their Results. ``need``: that many successes are enough. ``time_limit``:
    seconds; then the branches that have not ended are cancelled, and it goes on with the others.
    """

    branches: tuple[Node, ...]
    keys: tuple[str, ...] | None = None
    settle: bool = False
    need: int | None = None
    time_limit: float | None = None


@frozen
class RaceNode:
    """Several calls with the same input, of which one wins: ``.replica`` (a hedge) and ``race``.

    Call ``i`` of ``count`` runs branch ``i % len(branches)``. It begins ``after`` seconds (or as a ``Quantile`` gives)
    after the one before it was started, or as soon as one has failed. 0: all at once; infinity: one at a time. The
    tasks of a branch occur once in a plan, however often the branch is called. An error that ``on`` does not select
    ends it.
    """

    branches: tuple[Node, ...]
    count: int
    after: Delay
    pick: Chooser = field(hash=False)
    hedge: bool
    on: Match = field(default=Exception, hash=False)


@frozen
class Constant:
    """A fallback that is a value. It is copied for each use."""

    value: Any = field(hash=False)


@frozen
class Handler:
    """A fallback that is a function of the error. With ``inputs`` it also gets the arguments of the primary."""

    fn: Callable[..., Any] = field(hash=False)
    name: str
    is_async: bool
    inputs: bool = False

    def __str__(self) -> str:
        return f"{self.name}({'error, input' if self.inputs else 'error'})"


@frozen
class OrElse:
    """``primary | fallback``. A fallback node gets the same input; a Handler gets the error, and may get the input too.

    ``on``: the errors for which the fallback runs. Any other error is the failure of the whole.
    """

    primary: Node
    fallback: Node | Handler | Constant
    on: Match = field(default=Exception, hash=False)


@frozen
class Scope:
    """A policy around the chain to its left."""

    policy: Policy
    inner: Node


@frozen
class Named:
    """A name for a longer chain. A single task has its name in its TaskNode."""

    name: str
    inner: Node


@frozen
class Each:
    """``inner`` for every item of the value, at most ``limit`` at once. The result is a list.

    ``on_error``: whether the failure of one item is the failure of the whole, and if not, what replaces its value.
    ``time_limit``: seconds; then it fails, or with ``keeps`` it goes on with the values that have come. ``drop``: items
    that fail with these errors have no value. ``take``: it ends after so many values, or before the first value that
    the function is not true of. ``key``: what names an item in a journal; None: its number.
    """

    inner: Node
    limit: int
    ordered: bool
    on_error: OnError
    time_limit: float | None = None
    keeps: bool = False
    drop: Match | None = field(default=None, hash=False)
    take: int | Callable[[Any], Any] | None = field(default=None, hash=False)
    key: Callable[[Any], Any] | None = field(default=None, hash=False)


@frozen
class Expand:
    """``inner`` for the value, then for each item that ``more`` finds in its result, until there are no more items."""

    inner: Node
    limit: int
    depth: int | None
    total: int
    more: Callable[[Any], Any] | None = field(hash=False)
    key: Key = field(hash=False)
    on_error: OnError
    on_limit: Literal["raise", "stop"]
    drop: Match | None = field(default=None, hash=False)


@frozen
class Choose:
    """The first branch whose test is true of the value. If there is one branch more, it is for all other values."""

    tests: tuple[Any, ...] = field(hash=False)  # classes, tuples of them, and predicates
    branches: tuple[Node, ...]


@frozen
class Kept:
    """A node whose value a task downstream uses. Only in a Plan. ``place`` is its number among the kept nodes."""

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
FirstNode = TaskNode | Bridge | Each | Expand | Choose | Handler
Head = FirstNode | Scope
"""A node that takes the arguments of a chain. A Handler takes the error before them. A Scope here is a batch."""
OnError = Literal["raise", "keep", "drop", "stop"] | AtLeast


# --- walks ------------------------------------------------------------------------------------------------------


def parts(node: Node) -> tuple[Node, ...]:
    """The nodes directly below, in plan order: left to right, primary before fallback, branches in order."""
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
    """A copy of the node with other nodes directly below, as many as ``parts`` gives."""
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
    """The node and all nodes below it, depth first in plan order. A node that occurs twice is given twice."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(parts(node)))


def heads(node: Node) -> Iterator[Head]:
    """The nodes that get the arguments of a chain: its first function, or the first of each branch and fallback."""
    stack: list[Node | Handler] = [node]
    while stack:
        one = stack.pop()
        if isinstance(one, FirstNode) or (isinstance(one, Scope) and one.policy.gathers):
            yield one
        elif isinstance(one, (Then, Seq)):
            stack.append(parts(one)[0])
        else:
            if isinstance(one, OrElse) and isinstance(one.fallback, Handler) and one.fallback.inputs:
                stack.append(one.fallback)
            stack.extend(reversed(parts(one)))


def call_of(node: FanOutNode | RaceNode | Each | Expand | Choose) -> str:
    """The name of the function that makes this node."""
    if isinstance(node, (Each, Expand, Choose)):
        return type(node).__name__.lower()
    if isinstance(node, RaceNode):
        return "replica" if node.hedge else "race"
    return "settle" if node.settle else "fan_out"


def unwrapped(node: Node) -> Node:
    """The node without the policies and names around it. A hedge of one chain counts as a policy."""
    while isinstance(node, (Scope, Named, Kept)) or is_hedge_of_one(node):
        node = parts(node)[0]
    return node


def labelled(node: Node, name: str) -> TaskNode | Named:
    """The node with a name. A task has its own name; a name directly around another name replaces that."""
    if isinstance(node, TaskNode):
        return evolve(node, name=name, explicit=True)
    return Named(name, node.inner if isinstance(node, Named) else node)


def is_hedge_of_one(node: Node) -> TypeGuard[RaceNode]:
    """Whether it is ``.replica`` of one chain, which wraps that chain as a policy does."""
    return isinstance(node, RaceNode) and node.hedge and len(node.branches) == 1


# --- rules ------------------------------------------------------------------------------------------------------


Given = tuple[str, TaskNode | None]
"""A name that the user gave: to a task (second item), or to a longer chain (None)."""


def given_names(node: Node) -> Iterator[Given]:
    """Every name that the user gave, one for each occurrence."""
    for one in walk(node):
        if isinstance(one, Named):
            yield one.name, None
        elif isinstance(one, TaskNode) and one.explicit:
            yield one.name, one


def unique_names(given: Iterable[Given]) -> dict[str, TaskNode | None]:
    """The given names, each once.

    Raises:
        ChainDefinitionError: two different parts of the chain have the same name.
    """
    found: dict[str, TaskNode | None] = {}
    for name, task in given:
        if name in found and not _same_task(found[name], task):
            raise ChainDefinitionError(
                f"`.named({name!r})` is used twice in one chain; a name that you give must be unique, "
                "unless it names one Task that occurs several times"
            )
        found[name] = task
    return found


def _same_task(one: TaskNode | None, other: TaskNode | None) -> bool:
    """Whether both are one Task, or Tasks of one function, as the source of a chain makes them."""
    if one is None or other is None:
        return False
    return one.origin == other.origin != b"" or one.fn == other.fn


def flat(node: Node) -> Node:
    """The same chain with nested ``Then`` nodes as one ``Seq``, so that parentheses around ``>>`` make no difference.

    It drops what a plan knows about ``.using``, which is valid for that plan only.
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
