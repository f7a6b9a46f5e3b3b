"""The base class of chains, and how chains are composed: the part of the language without types."""

# pyright: reportPrivateUsage=false
# ruff: noqa: SLF001
# the functions here make Composed objects, and use attributes that users should not see

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeGuard

from attrs import evolve, field, frozen

from rio_chain._core.chain_base import ChainBase
from rio_chain._core.copied_constants import copyable
from rio_chain._core.source_text import name_of
from rio_chain._core.units import count, escape_nonprintable, short_repr
from rio_chain.chain import _validation
from rio_chain.chain._bridge_checks import bridge, chain_takes_one, check_spread, function, has_chains, not_a_chain_text
from rio_chain.chain._chain_signature import ChainSignature, begins, gets_input, signature_of_heads
from rio_chain.chain._functions import Filled, filled, is_async, is_generator
from rio_chain.chain._node_checks import check_closed, check_open, check_race, check_scope, check_width
from rio_chain.chain._nodes import (
    Constant,
    Handler,
    Node,
    OrElse,
    RaceNode,
    Scope,
    TaskNode,
    Then,
    Use,
    flat,
    heads,
)
from rio_chain.chain._plan import Plan, compile_plan
from rio_chain.chain._request import Request
from rio_chain.chain._validation import NO_NAMES, Names, check_on, joined, names_in
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies import Policy
from rio_chain.policies._delays import after_of
from rio_chain.policies._match_errors import Match

_set = object.__setattr__  # sets the attributes of a frozen object


@frozen(init=False, repr=False, eq=False)
class Composed(ChainBase):
    """A node and facts about it: its given names, its signature and its plan. The last two are made on first use."""

    _wrapped: ClassVar[type[Composed]]
    """The class of the chain that a policy around this one makes."""

    node: Node = field(init=False)
    _names: Names = field(init=False)
    _entry: ChainSignature | None = field(init=False)
    _plan: Plan | None = field(init=False)

    def __init__(self, *_: object) -> None:
        raise ChainDefinitionError("a chain needs at least one task; begin with Task(fn)")

    def plan(self) -> Plan:
        """The Plan of this chain: its tasks numbered, named and validated. It is made once and kept.

        Raises:
            ChainDefinitionError: the chain is not a valid plan.
        """
        plan = self._plan
        if plan is None:
            plan = compile_plan(self.node)
            _set(self, "_plan", plan)
        return plan

    def __repr__(self) -> str:
        from rio_chain.chain._source import source  # noqa: PLC0415 - writing a chain does not need it

        return source(self.node)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Composed):
            return NotImplemented
        return self is other or _form(self) == _form(other)

    def __hash__(self) -> int:
        return hash(_form(self))

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _revive, (type(self), flat(self.node))  # pickle would recurse too deeply in a long sequence of >>


def _form(chain: Composed) -> Node:
    """The value that is compared. Usually the root of the plan. A part of a chain may have none, as it uses others."""
    try:
        return chain.plan().root
    except ChainDefinitionError:
        return flat(chain.node)


def fill(new: Composed, node: Node, names: Names) -> None:
    """Initialise a chain, as an ``__init__`` would that users can't call."""
    _set(new, "node", node)
    _set(new, "_names", names)
    _set(new, "_entry", None)
    _set(new, "_plan", None)


def made(cls: type[Composed], node: Node, names: Names) -> Any:
    """A chain of the class ``cls`` around a node."""
    new = object.__new__(cls)
    fill(new, node, names)
    return new


def checked(cls: type[Composed], node: Node, names: Names) -> Any:
    """A chain of the class ``cls`` around a node whose parts may not fit together. Raises if they don't."""
    check_open(node)
    return made(cls, node, names)


def _revive(cls: type[Composed], node: Node) -> Any:
    return made(cls, node, names_in(node))


def wrapped_kind(chain: Composed) -> type[Composed]:
    """The class of the chain that a policy around this chain makes."""
    return chain._wrapped


class Signature:
    """The signature that ``inspect.signature`` and a notebook's ``?`` show: that of the chain's first function."""

    def __get__(self, chain: Composed | None, owner: type[Composed]) -> inspect.Signature:
        found = None if chain is None else entry(chain).signature()  # the class itself is called as its __init__
        if found is None:
            raise AttributeError("__signature__")
        return found.replace(return_annotation=Request)


def entry(chain: Composed) -> ChainSignature:
    """The arguments that the chain takes. Made on first use and kept."""
    found = chain._entry
    if found is None:
        found = signature_of_heads(tuple(heads(chain.node)))
        _set(chain, "_entry", found)
    return found


# --- the operators ----------------------------------------------------------------------------------------------


def step(value: object, rule: str, hint: str = "") -> Composed:
    """Return a Chain unchanged, and a function as a bridge. ``hint`` ends the error for any other value."""
    if isinstance(value, Composed):
        return value
    bridged: Composed = made(Composed, bridge(value, rule, hint), NO_NAMES)
    return bridged


def then(cls: type[Composed], left: Composed, right: Composed) -> Any:
    """``left >> right``. The right side must take one argument."""
    chain_takes_one(entry(right), "`>>` passes one value")
    check_spread(left.node, entry(right).heads)
    return checked(cls, Then(left.node, right.node), joined(left._names, right._names))


def operand(value: object, sign: str) -> Composed:
    """Check that the value is a branch of a fan-out. The error says what to write."""
    if isinstance(value, Composed):
        return value
    got = not_a_chain_text(value)
    hint = ""
    if sign == "`&`":
        hint = ". `>>` binds tighter than `&`: `user >> a & b` is `(user >> a) & b`; you may want `user >> (a & b)`"
    elif has_chains(value):
        got = f"a {type(value).__name__}: {got}"
        hint = f". Pass them one by one, as in {sign.strip('`')}(a, b); for a list write {sign.strip('`')}(*chains)"
    raise ChainDefinitionError(f"{sign} takes Tasks and Chains; got {got}{hint}")


def one_value(value: object, sign: str) -> Composed:
    """Check that the value is a chain that takes one value."""
    chain = operand(value, sign)
    chain_takes_one(entry(chain), f"{sign} calls the chain with one value")
    return chain


def branches(values: tuple[object, ...], sign: str) -> tuple[tuple[Node, ...], Names]:
    """The branches of a fan-out, and the names in them."""
    if not values:
        raise ChainDefinitionError(f"{sign} needs at least one Task or Chain; got none")
    check_width(len(values), sign)
    chains = [operand(value, sign) for value in values]
    for chain in chains:
        check_closed(chain.node)
    names: Names = NO_NAMES
    for chain in chains:
        names = joined(names, chain._names)
    return tuple(chain.node for chain in chains), names


def or_else(cls: type[Composed], primary: Composed, other: object, on: Match) -> Any:
    """``primary | other``, for each kind of fallback."""
    check_on(on)
    rule = "`or_else` takes a Task, a Chain, a function of the error, or a constant"
    fallback: Node | Handler | Constant
    names: Names = NO_NAMES
    if isinstance(other, Composed):
        fallback, names = other.node, other._names
    elif isinstance(other, Request):
        raise ChainDefinitionError(f"{rule}; got a Request: write the chain without its arguments")
    elif callable(other) or hasattr(type(other), "__await__"):
        kind: Any = other
        if isinstance(kind, type) and issubclass(kind, BaseException):
            raise ChainDefinitionError(
                f"{rule}; got the error class {kind.__name__}. To handle only some errors, write "
                f".or_else(value, on={kind.__name__})"
            )
        fn = function(other, rule)
        fallback = Handler(fn, name_of(fn), is_async(fn), gets_input(fn, entry(primary)))
    else:
        instead = "write a function that returns it: .or_else(lambda error: ...)"
        fallback = Constant(copyable(other, "`or_else` copies a constant at each use", instead))
    return checked(cls, OrElse(primary.node, fallback, on), joined(primary._names, names))


def scope(cls: type[Composed], inner: Composed, policy: Policy) -> Any:
    """A policy around a chain."""
    wrapped = Scope(policy, inner.node)
    check_scope(wrapped)
    return checked(cls, wrapped, inner._names)


def batched(cls: type[Composed], inner: Composed, batch: Policy) -> Any:
    """A policy that makes one call of many around a chain, which has to take their inputs as one list."""
    first = entry(inner)
    if first.least > 1 or first.most < 1 or first.keywords:
        raise ChainDefinitionError(
            f"`.batch` calls `{begins(first.heads[0])}` with a list of inputs, and it can't be called with one value; "
            "write def fetch_many(keys), which returns a list with one value for each key, or a dict by key"
        )
    return scope(cls, inner, batch)


def replica(
    cls: type[Composed], primary: Composed, n: object, *, after: object, to: object, pick: object, on: Any
) -> Any:
    """A hedge: several calls of a chain, to one backend or to several."""
    others = targets(to)
    if n is None and not others:
        raise ChainDefinitionError("`replica` needs `n`, the total number of calls, as in .replica(2, after=20)")
    width = 1 + len(others)
    calls = width if n is None else count(n, "n", least=1)
    if calls < width:
        raise ChainDefinitionError(f"`n` must be {width} or more, or a target of `to` is never called; got {calls}")
    nodes, names = branches((primary, *others), "`replica`")
    _validation.check_on(on)
    node = RaceNode(nodes, calls, after_of(after, calls), _validation.pick(pick), hedge=True, on=on)
    return raced(cls, node, names)


def targets(to: object) -> list[Composed]:
    """The other targets of a hedge. A function becomes a task."""
    rule = "`to` takes a list of Tasks, Chains or functions"
    if isinstance(to, Composed) or callable(to):
        raise ChainDefinitionError(f"{rule}; got just one of them: write to=[...] around it")
    if not _several(to):
        raise ChainDefinitionError(f"{rule}; got {short_repr(to)}")
    return [item if isinstance(item, Composed) else made(Composed, call(item, rule), NO_NAMES) for item in to]


def _several(value: object) -> TypeGuard[Iterable[object]]:
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))


def call(value: object, rule: str) -> TaskNode:
    """A function as a task."""
    fn = function(value, rule, generators=True)
    return TaskNode(fn, name_of(fn), is_async(fn), origin=os.urandom(8), generator=is_generator(fn))


def using(call: TaskNode, sources: Mapping[str, object]) -> TaskNode:
    """A copy of the task with more keyword inputs.

    Raises:
        ChainDefinitionError: no keyword is given, a value is not a Task or Chain, or the function has no such
            parameter.
    """
    if not sources:
        raise ChainDefinitionError("`.using` needs at least one keyword, as in .using(user=user)")
    for keyword, source in sources.items():
        rule = f"`.using({keyword}=...)` takes the Task or Chain that gives the value"
        if not isinstance(source, Composed):
            raise ChainDefinitionError(f"{rule}; got {not_a_chain_text(source)}")
        if any(use.keyword == keyword for use in call.uses):
            raise ChainDefinitionError(f"`{keyword}=` is given to `.using` of `{call.name}` twice")
    uses = (
        *call.uses,
        *(Use(key, flat(source.node)) for key, source in sources.items() if isinstance(source, Composed)),
    )
    fn = call.fn.fn if isinstance(call.fn, Filled) else call.fn
    return evolve(call, fn=filled(fn, tuple(use.keyword for use in uses)), uses=uses)


def lane(call: TaskNode, lane: object) -> TaskNode:
    """A copy of the task that runs in a lane.

    Raises:
        ChainDefinitionError: the name is not valid, or the function can't run in another process.
    """
    if not isinstance(lane, str) or not lane.strip():
        raise ChainDefinitionError(f'`lane` takes a name, as in .lane("cpu"); got {short_repr(lane)}')
    if call.is_async:
        raise ChainDefinitionError(f"`.lane()` is for sync functions; `{call.name}` is async, and a lane has no loop")
    if call.generator:
        raise ChainDefinitionError(f"`{call.name}` is a generator function, and a generator can't leave a process")
    if call.inline:
        raise ChainDefinitionError(f"`{call.name}` runs in place (`.inline()`); it can't run in a lane as well")
    from rio_chain._core.pickling import dumps  # noqa: PLC0415 - most chains have no lane

    try:
        dumps(call.fn)
    except Exception as error:
        raise ChainDefinitionError(
            f"`.lane()` sends the function to a process, and `{call.name}` can't "
            f"be pickled: {escape_nonprintable(str(error))}"
        ) from error
    return evolve(call, lane=lane)


def raced(cls: type[Composed], race: RaceNode, names: Names) -> Any:
    """Check that the race can be won, and make a chain of it."""
    check_race(race)
    return made(cls, race, names)
