"""Which tasks answer for a batch: a model of one of these answers a list, with its value for each key."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

from rio_chain.chain._nodes import Kept, Named, Node, OrElse, RaceNode, Scope, Seq, TaskNode, parts, walk


def answers_batch(root: Node) -> frozenset[int]:
    """The numbers of the tasks whose values are those of a batch."""
    found: set[int] = set()
    todo: list[tuple[Node, int, bool]] = [(root, 0, False)]
    while todo:
        node, low, answers = todo.pop()
        if isinstance(node, TaskNode):
            found.update([low] if answers else [])
            continue
        inside = parts(node)
        lows = accumulate((sum(isinstance(n, TaskNode) for n in walk(part)) for part in inside), initial=low)
        gathers = isinstance(node, Scope) and node.policy.gathers > 0
        handed_on = isinstance(node, (Scope, Named, Kept, OrElse, RaceNode))
        for i, (part, first) in enumerate(zip(inside, lows, strict=False)):
            last = isinstance(node, Seq) and i == len(inside) - 1
            todo.append((part, first, gathers or (answers and (handed_on or last))))
    return frozenset(found)


def for_each_key(backend: Callable[..., Any]) -> Callable[..., Any]:
    """A model's function that gives its value for each of the keys that it gets."""

    async def call(keys: Any, **used: Any) -> list[Any]:
        value = await backend(keys, **used)
        return [value for _ in keys]

    return call
