"""Rules about layers in an order in which they have no effect, or a wrong one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter

from attrs import evolve

from rio_chain._core.units import format_duration
from rio_chain.chain._nodes import (
    Each,
    Expand,
    FanOutNode,
    Node,
    OrElse,
    RaceNode,
    Scope,
    TaskNode,
    call_of,
    parts,
    walk,
)
from rio_chain.inspect._bounds import limit_of
from rio_chain.inspect.lint._policy_stack import (
    REPEATS,
    PolicyStack,
    Said,
    answers,
    ends,
    keeps_failures,
    limits,
    nothing,
    put_around,
    with_calls,
)
from rio_chain.policies import Timeout
from rio_chain.policies._policy import Facts


def breaker_inside_timeout(stack: PolicyStack) -> Iterator[Said]:
    """The timeout is outside of the breaker, so the breaker does not count timeouts."""
    for i, layer, _ in stack.of(attrgetter("counts_failures")):
        limit = layer.around.limit
        if limit == float("inf") or not unlimited(layer.inner.node):
            continue
        outside = range(i + 1, len(stack.layers))
        timeout, again = stack.first(outside, limits), stack.first(outside, REPEATS, RaceNode)
        if timeout is not None and (again is None or again > timeout):
            better = stack.moved(i, timeout + 1)
        else:
            share = limit / max(2, layer.around.calls)
            better = stack.added(i, Scope(Timeout(neat(share)), layer.inner.node))
        text = f"the breaker never counts a timeout, as the timeout of {format_duration(limit)} is around it"
        yield Said("breaker-inside-timeout", text, better)


def breaker_outside_retry(stack: PolicyStack) -> Iterator[Said]:
    """The breaker counts only one failure for a series of attempts."""
    for i, _, _ in stack.of(attrgetter("counts_failures")):
        retry = stack.first(range(i), REPEATS)
        if retry is not None and stack.first(range(retry), attrgetter("counts_failures")) is None:
            text = "the breaker counts all attempts of the retry inside it as one call"
            yield Said("breaker-outside-retry", text, stack.moved(i, retry))


def limit_outside_timeout(stack: PolicyStack) -> Iterator[Said]:
    """A call may wait for ever for its permit."""
    for i, layer, _ in stack.of(attrgetter("waits")):
        timeout = stack.first(reversed(range(i)), limits)
        if timeout is not None and not layer.around.ends:
            text = "the timeout is inside the limit, so nothing ends the wait for a permit"
            yield Said("limit-outside-timeout", text, stack.moved(i, timeout))


def limit_inside_retry(stack: PolicyStack) -> Iterator[Said]:
    """A retry waits for a permit that its own abandoned calls hold."""
    for i, layer, facts in stack.of(REPEATS):
        for limit in kept_by_abandoned(layer.inner.node):
            most = limit.places
            if most is None or most >= facts.calls or not limit.waits:
                continue
            text = (
                f"an abandoned call keeps its permit until it ends, so after {most} of them a retry waits for its own "
                "calls: give the limit a `wait`, or permits for abandoned calls, `Limit(n + max_abandoned)`"
            )
            better = stack.changed(i, with_calls(layer.node, most))
            yield Said("limit-inside-retry", text, better if most > 1 else stack.without(i))


def retry_never_runs(stack: PolicyStack) -> Iterator[Said]:
    """The retry never sees a failure: there is always an answer, or failures have become values."""
    for i, layer, facts in stack.of(REPEATS):
        if facts.refuses_values:
            continue
        kept = keeps_failures(layer.inner.node)
        if kept is not None:
            nodes = stack.nodes()
            del nodes[i]
            text = f"the {call_of(kept)} keeps failures as values or drops them, so the retry around it never runs"
            yield Said("retry-never-runs", text, stack.build(nodes, each_in(kept, layer.node)))
        elif answers(layer.inner.node) is not None:
            fallback = stack.first(reversed(range(i)), nothing, OrElse)
            assert fallback is not None  # noqa: S101 - it always answers
            text = "the fallback always answers, so the retry around it never runs"
            yield Said("retry-never-runs", text, stack.moved(i, fallback))


def fallback_never_used(stack: PolicyStack) -> Iterator[Said]:
    """The fallback never sees a failure: there is always an answer, or failures have become values."""
    for i, layer in enumerate(stack.layers):
        inside = answers(layer.inner.node) if isinstance(layer.node, OrElse) else None
        if inside is not None:
            what = "settle" if isinstance(inside, FanOutNode) else "fallback"
            text = f"the {what} inside it always answers, so this one is never used"
            yield Said("fallback-never-used", text, stack.without(i))


def accept_outside(stack: PolicyStack) -> Iterator[Said]:
    """The refusal of an answer is outside of the retry or replica that could get another answer."""
    for i, _, facts in stack.of(attrgetter("refuses_values")):
        if facts.repeats:
            continue
        again = stack.first(range(i), REPEATS, RaceNode)
        if again is not None:
            what = "retry" if stack.layers[again].facts.repeats else "replica"
            text = f"the {what} inside it takes every answer, so one that is not accepted is final"
            yield Said(f"accept-outside-{what}", text, stack.moved(i, again))


def cache_inside_retry(stack: PolicyStack) -> Iterator[Said]:
    """Each attempt gets the same kept value."""
    for i, _, _ in stack.of(attrgetter("keeps_values")):
        retry = stack.first(reversed(range(i + 1, len(stack.layers))), REPEATS)
        if retry is not None:
            text = "each attempt asks the cache, so an answer that was kept is all that the retry ever gets"
            yield Said("cache-inside-retry", text, stack.moved(i, retry + 1))


def chaos_not_innermost(stack: PolicyStack) -> Iterator[Said]:
    """The faults are outside of policies that should meet them."""
    for i, _, _ in stack.of(attrgetter("injects_faults")):
        if stack.first(range(i), nothing, Scope, RaceNode, OrElse) is not None:
            text = "the policies inside the chaos never see its faults"
            yield Said("chaos-not-innermost", text, stack.moved(i, 0))


def budget_without_extras(stack: PolicyStack) -> Iterator[Said]:
    """There is nothing that the budget could limit."""
    for i, layer, _ in stack.of(attrgetter("bounds_extras")):
        if any(is_extra(node) for node in walk(layer.inner.node)):
            continue
        extra = stack.first(reversed(range(i + 1, len(stack.layers))), REPEATS, RaceNode)
        better = stack.without(i) if extra is None else stack.moved(i, extra + 1)
        text = "there is no retry and no replica to the left of the budget that it could limit"
        yield Said("budget-without-extras", text, better)


# --- helpers of the rules ---------------------------------------------------------------------------------------


def unlimited(node: Node) -> bool:
    """Whether the node contains a task without a timeout around it in the node."""
    todo = [node]
    while todo:
        node = todo.pop()
        if isinstance(node, TaskNode):
            return True
        if limit_of(node) == float("inf") and not (isinstance(node, Scope) and ends(node.policy.facts())):
            todo.extend(parts(node))
    return False


def kept_by_abandoned(node: Node) -> Iterator[Facts]:
    """The limits in the node around a blocking task with a timeout. Parts inside another retry are left out."""
    todo: list[tuple[Node, bool, tuple[Facts, ...]]] = [(node, False, ())]
    while todo:
        node, timed, found = todo.pop()
        facts = node.policy.facts() if isinstance(node, Scope) else Facts()
        if isinstance(node, TaskNode) and timed and not (node.is_async or node.inline or node.lane is not None):
            yield from found
        if not facts.repeats:
            inside = (*found, facts) if facts.places is not None else found
            todo.extend((part, timed or ends(facts), inside) for part in parts(node))


def each_in(node: FanOutNode | Each | Expand, layer: Node) -> Node:
    """The node with a policy around each of its parts, instead of around the whole."""
    if isinstance(node, FanOutNode):
        return evolve(node, branches=tuple(put_around(layer, branch) for branch in node.branches))
    return evolve(node, inner=put_around(layer, node.inner))


def is_extra(node: Node) -> bool:
    """Whether it makes calls besides the first."""
    return (isinstance(node, Scope) and node.policy.facts().repeats) or (isinstance(node, RaceNode) and node.hedge)


def neat(seconds: float) -> float:
    """Rounded down to whole milliseconds, if it is at least one."""
    return int(seconds * 1000) / 1000 if seconds >= 1 / 1000 else seconds


ORDER: tuple[Callable[[PolicyStack], Iterator[Said]], ...] = (
    breaker_inside_timeout,
    breaker_outside_retry,
    limit_outside_timeout,
    limit_inside_retry,
    retry_never_runs,
    fallback_never_used,
    accept_outside,
    cache_inside_retry,
    chaos_not_innermost,
    budget_without_extras,
)
