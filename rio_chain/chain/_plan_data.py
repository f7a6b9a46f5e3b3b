"""A plan as plain data for ``json.dumps``, for tools that draw, compare or count chains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from rio_chain._core.units import short_repr
from rio_chain.chain._nodes import (
    Bridge,
    Choose,
    Constant,
    Each,
    Expand,
    FanOutNode,
    Handler,
    Kept,
    Named,
    Node,
    OnError,
    OrElse,
    RaceNode,
    Scope,
    Seq,
    TaskNode,
    call_of,
    parts,
    walk,
)
from rio_chain.policies import AtLeast, Chooser
from rio_chain.policies._best_and_quorum import Best, Quorum
from rio_chain.policies._first import First
from rio_chain.policies._plain_data import Data, errors, function, key, ms, number, qualified

if TYPE_CHECKING:
    from rio_chain.chain._plan import Plan

VERSION = 1
"""The version of the data format: increase it when a key is renamed or removed."""


def to_dict(plan: Plan) -> dict[str, Any]:
    """The plan as data. See ``Plan.to_dict``."""
    bridges = zip(plan.bridges, (node for node in walk(plan.root) if isinstance(node, Bridge)), strict=True)
    return {
        "version": VERSION,
        "title": plan.title,
        "tasks": [
            {"index": task.index, "name": task.name, **_callee(task.call), "inline": task.call.inline}
            | {"lane": task.call.lane, "resources": dict(task.call.resources)}
            for task in plan.tasks
        ],
        "bridges": [
            {"name": bridge.name, "before": bridge.before, "after": bridge.after, **_callee(node)}
            for bridge, node in bridges
        ],
        "edges": [list(edge) for edge in plan.edges],
        "uses": [{"from": source, "to": task, "keyword": word} for source, word, task in plan.uses],
        "root": _tree(plan),
    }


def _callee(node: TaskNode | Bridge) -> Data:
    return {"function": function(node.fn), "async": node.is_async, "generator": node.generator}


def _tree(plan: Plan) -> Data:
    """The nodes as nested dicts.

    They are made from the last to the first, without recursion, so no plan is too deep.
    """
    tasks, bridges = reversed(plan.tasks), iter(range(len(plan.bridges) - 1, -1, -1))
    made: list[Data] = []
    for node in reversed(list(walk(plan.root))):
        inner = [made.pop() for _ in parts(node)]
        if isinstance(node, TaskNode):
            task = next(tasks)
            made.append({"kind": "task", "index": task.index, "name": task.name})
        elif isinstance(node, Bridge):
            index = next(bridges)
            made.append({"kind": "bridge", "index": index, "name": plan.bridges[index].name})
        else:
            made.append(inner[0] if isinstance(node, Kept) else _joined(node, inner))
    return made[0]


def _joined(node: Node, inner: list[Data]) -> Data:
    """A node that contains other nodes, which are given as data."""
    if isinstance(node, Scope):
        return {**node.policy.to_dict(), "inner": inner[0]}
    if isinstance(node, Named):
        return {"kind": "named", "name": node.name, "inner": inner[0]}
    if isinstance(node, Seq):
        return {"kind": "steps", "steps": inner}
    if isinstance(node, FanOutNode):
        keys = None if node.keys is None else list(node.keys)
        limits = {"need": number(node.need), "time_limit_ms": ms(node.time_limit)}
        return {"kind": call_of(node), "keys": keys, **limits, "branches": inner}
    if isinstance(node, OrElse):
        other = inner[1] if len(inner) > 1 else _fallback(node)
        return {"kind": "or_else", "on": errors(node.on), "primary": inner[0], "fallback": other}
    return _race(node, inner) if isinstance(node, RaceNode) else _dynamic(node, inner)


def _fallback(node: OrElse) -> Data:
    if isinstance(node.fallback, Constant):
        return {"kind": "constant", "shown": short_repr(node.fallback.value)}
    given = node.fallback
    assert isinstance(given, Handler)  # noqa: S101 - a fallback that is a node is among the parts
    more = {"input": True} if given.inputs else {}
    return {"kind": "handler", "function": function(given.fn), "async": given.is_async, **more}


def _race(node: RaceNode, inner: list[Data]) -> Data:
    fixed = node.after if isinstance(node.after, float) else None
    return {
        "kind": call_of(node),
        "calls": number(node.count),
        "after_ms": ms(fixed),
        "after": None if isinstance(node.after, (int, float)) else node.after.to_dict(),
        "pick": _pick(node.pick),
        **({} if node.on is Exception else {"on": errors(node.on)}),
        "branches": inner,
    }


def _dynamic(node: Node, inner: list[Data]) -> Data:
    """A node whose shape depends on the values."""
    if isinstance(node, Choose):
        return {"kind": "choose", "tests": [_test(test) for test in node.tests], "branches": inner}
    assert isinstance(node, (Each, Expand))  # noqa: S101 - a Plan holds no Then
    some: Data = {"kind": call_of(node), "limit": number(node.limit), "on_error": _on_error(node.on_error)}
    if node.drop is not None:
        some["drop"] = errors(node.drop)
    if isinstance(node, Each):
        when: Data = {"time_limit_ms": ms(node.time_limit), "on_timeout": "keep" if node.keeps else "raise"}
        if node.take is not None:
            when["take"] = number(node.take) if isinstance(node.take, int) else function(node.take)
        if node.key is not None:
            when["key"] = function(node.key)
        return some | {"ordered": node.ordered, **when, "inner": inner[0]}
    return some | {
        "depth": number(node.depth),
        "total": number(node.total),
        "more": function(node.more),
        "key": key(node.key),
        "on_limit": node.on_limit,
        "inner": inner[0],
    }


def _on_error(which: OnError) -> str | Data:
    return {"at_least": number(which.least)} if isinstance(which, AtLeast) else which


def _test(test: object) -> Data:
    if isinstance(test, (type, tuple)):
        several = cast("tuple[object, ...]", test if isinstance(test, tuple) else (test,))
        return {"classes": [function(cls) for cls in several]}
    return {"function": function(test)}


# --- races ------------------------------------------------------------------------------------------------------


def _pick(given: Chooser) -> Data:
    """How the answer of a race is chosen."""
    if isinstance(given, First):
        return {"kind": "first", "accept": function(given.accept)}
    if isinstance(given, Best):
        score, enough = function(given.score), number(given.enough)
        return {"kind": "best", "score": score, "within_ms": ms(given.within), "enough": enough}
    if isinstance(given, Quorum):
        return {"kind": "quorum", "k": number(given.k), "by": function(given.by)}
    return {"kind": "chooser", "type": qualified(type(given))}
