"""Rules about what the values decide: items, branches, and the generator that they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, cast

from attrs import evolve

from rio_chain.lint.stack import Said, Stack, answers, is_layer, keeps_failures, put_around
from rio_chain.nodes import Choose, Each, Expand, Node, OrElse, Race, Scope, Seq, call_of, open_end, parts
from rio_chain.policies import Retry
from rio_chain.show.dynamic import tests_words


def generator_used_up(stack: Stack) -> Iterator[Said]:
    """Who takes the items again finds none: the generator was made before."""
    core = stack.core.node
    for i, (left, right) in enumerate(pairwise(core.steps) if isinstance(core, Seq) else ()):
        found = open_end(left)
        layers = layers_of(right) if found is not None else []
        again = [k for k, layer in enumerate(layers) if begins_again(layer)]
        if found is None or not again:
            continue
        around, inside = layers[: again[-1] + 1], parts(layers[again[-1]])[0]
        pair: Node = Seq((left, inside))
        for layer in reversed(around):
            pair = put_around(layer, pair)
        what = "fallback" if isinstance(around[-1], OrElse) else "retry"
        text = (
            f"the generator of {found.name} is used up by the first attempt: the {what} finds none of its items again"
        )
        steps = cast("Seq", core).steps
        better = Seq((*steps[:i], pair, *steps[i + 2 :]))
        yield Said("generator-used-up", text, stack.build(stack.nodes(), better if len(better.steps) > 1 else pair))


def on_error_never_used(stack: Stack) -> Iterator[Said]:
    """No item fails."""
    core = stack.core.node
    if isinstance(core, (Each, Expand)) and keeps_failures(core) and answers(core.inner) is not None:
        text = f"what is inside the {call_of(core)} always answers, so no item fails and `on_error` is never used"
        yield Said("on-error-never-used", text, stack.build(stack.nodes(), evolve(core, on_error="raise")))


def branch_never_chosen(stack: Stack) -> Iterator[Said]:
    """Each value that it is for is another's already."""
    core = stack.core.node
    if not isinstance(core, Choose):
        return
    tests: list[object] = [*core.tests, *[object] * (len(core.branches) - len(core.tests))]
    for i, test in enumerate(tests):
        before = next((k for k in range(i) if covers(tests[k], test)), None)
        if before is None:
            continue
        branches, kept = list(core.branches), list(core.tests)
        moved = branches.pop(i)
        if i < len(kept):
            del kept[i]
            if not covers(test, tests[before]):  # it is for less: it can go first
                branches.insert(before, moved)
                kept.insert(before, test)
        better = evolve(core, tests=tuple(kept), branches=tuple(branches))
        what = tests_words(core)
        text = f"the branch `{what[i]}` is never chosen, as `{what[before]}` before it is true of every such value"
        yield Said("branch-never-chosen", text, stack.build(stack.nodes(), better))


# --- what the rules ask -----------------------------------------------------------------------------------------


def layers_of(node: Node) -> list[Node]:
    """What is around the core of a node, the outermost first."""
    layers: list[Node] = []
    while is_layer(node):
        layers.append(node)
        node = parts(node)[0]
    return layers


def begins_again(layer: Node) -> bool:
    """Whether it gives the same input to a second attempt, or to another chain."""
    if isinstance(layer, Scope) and isinstance(layer.policy, Retry):
        never = layer.policy.accept is None and keeps_failures(layer.inner) is not None
        return layer.policy.retries > 0 and not never
    return isinstance(layer, Race) or (isinstance(layer, OrElse) and isinstance(layer.fallback, Node))


def covers(wide: object, narrow: object) -> bool:
    """Whether a test of ``choose`` is true of each value that another is true of."""
    if wide is narrow or wide is object:
        return True
    if not isinstance(wide, (type, tuple)) or not isinstance(narrow, (type, tuple)):
        return False
    several = cast("tuple[type[Any], ...]", narrow if isinstance(narrow, tuple) else (narrow,))
    try:
        return all(issubclass(cls, cast("tuple[type[Any], ...]", wide)) for cls in several)
    except Exception:  # noqa: BLE001 - a class may refuse to say, as a Protocol does
        return False


ITEMS: tuple[Callable[[Stack], Iterator[Said]], ...] = (
    generator_used_up,
    on_error_never_used,
    branch_never_chosen,
)
