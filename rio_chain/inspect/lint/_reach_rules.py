"""Rules about what can never happen, or happens more often than it seems."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import cast

from attrs import evolve

from rio_chain._core.units import format_duration
from rio_chain.chain._node_checks import open_end
from rio_chain.chain._nodes import Each, Expand, FanOutNode, Node, OrElse, RaceNode, Scope, Seq, TaskNode, parts, walk
from rio_chain.errors import NEVER_RETRIED, TaskTimedOut
from rio_chain.inspect._bounds import cut
from rio_chain.inspect.lint._order_rules import neat
from rio_chain.inspect.lint._policy_stack import (
    REPEATS,
    PolicyStack,
    Said,
    ends,
    keeps_failures,
    limits,
    retrying_also,
    with_calls,
)
from rio_chain.policies import Budget, SingleFlight, Timeout
from rio_chain.policies._delays import DelayList
from rio_chain.policies._match_errors import matches
from rio_chain.policies._policy import Facts

TASK_TIMED_OUT = TaskTimedOut("", 0)
"""Only its class matters: whether ``on=`` of a policy matches it."""

ONE_MS = 0.001


def timeout_unreachable(stack: PolicyStack) -> Iterator[Said]:
    """A smaller timeout is around this one."""
    for i, layer, facts in stack.of(limits):
        limit = layer.around.limit
        if facts.limit < limit:
            continue
        outside = range(i + 1, len(stack.layers))
        timeout, again = stack.first(outside, limits), stack.first(outside, REPEATS, RaceNode)
        text = (
            f"the timeout of {format_duration(facts.limit)} is never reached, as "
            f"the one around it is {format_duration(limit)}"
        )
        better = stack.without(i)
        if timeout is not None and again is not None and again < timeout and facts.limit > limit:
            nodes = stack.nodes()
            nodes[i], nodes[timeout] = nodes[timeout], nodes[i]
            better = stack.build(nodes)
        yield Said("timeout-unreachable", text, better)


def timeout_below_1_ms(stack: PolicyStack) -> Iterator[Said]:
    """The timeout is so short that it was probably given in seconds."""
    for i, layer, facts in stack.of(limits):
        if 0 < facts.limit < ONE_MS:
            limit = format_duration(facts.limit)
            text = f"the timeout is {limit}: times are in milliseconds, and this one looks like seconds"
            better = Scope(Timeout(facts.limit * 1000), layer.inner.node)
            yield Said("timeout-below-1-ms", text, stack.changed(i, better))


def retries_do_not_fit(stack: PolicyStack) -> Iterator[Said]:
    """The timeout around the retry leaves no time for all attempts, if they are slow."""
    for i, layer, _ in stack.of(REPEATS):
        limit = layer.around.limit
        found = cut(layer.part, limit) if layer.inner.slowest < limit else None
        if found is None:
            continue
        text = (
            f"{found.calls} attempts and the waits between them take up to "
            f"{format_duration(layer.part.slowest)}, and the timeout "
            f"around them is {format_duration(limit)}: only {found.slowest} begin when they are slow"
        )
        timeout = stack.first(range(i + 1, len(stack.layers)), limits)
        if found.slowest > 1:
            better = stack.changed(i, with_calls(layer.node, found.slowest))
        elif timeout is not None and layer.part.slowest < math.inf:
            enough = Timeout(math.ceil(layer.part.slowest * 1000) / 1000)
            better = stack.changed(timeout, Scope(enough, layer.inner.node))
        else:
            better = stack.without(i)
        yield Said("retries-do-not-fit", text, better)


def retries_multiply(stack: PolicyStack) -> Iterator[Said]:
    """A retry inside a retry."""
    for i, layer, facts in stack.of(REPEATS):
        around, calls = layer.around, facts.calls
        if calls == 1 or around.calls == 1 or around.budget:
            continue
        text = f"retries multiply: {around.calls} times {calls} calls, up to {around.calls * calls} in one run"
        here = stack.first(range(i + 1, len(stack.layers)), REPEATS) is not None
        better = stack.without(i) if here else stack.added(i + 1, Scope(Budget(), layer.node))
        yield Said("retries-multiply", text, better)


def retry_never_matches(stack: PolicyStack) -> Iterator[Said]:
    """It retries only errors that are never retried."""
    for i, _, facts in stack.of(REPEATS):
        classes = facts.repeats_after
        if classes and all(issubclass(cls, NEVER_RETRIED) for cls in classes):
            many = " and ".join(cls.__name__ for cls in classes)
            text = f"another call can't help against {many}, so it is never retried"
            yield Said("retry-never-matches", text, stack.without(i))


def timeout_not_retried(stack: PolicyStack) -> Iterator[Said]:
    """It retries only some errors, and not the timeout inside it."""
    for i, layer, facts in stack.of(REPEATS):
        classes = facts.repeats_after
        if not classes or facts.calls == 1 or all(issubclass(cls, NEVER_RETRIED) for cls in classes):
            continue  # a predicate may match it; other rules look at the other cases
        if any(issubclass(TaskTimedOut, cls) for cls in classes) or not times_out(layer.inner.node):
            continue
        many = " and ".join(cls.__name__ for cls in classes)
        text = f"it is only for {many}, so it does not retry after the timeout inside it (TaskTimedOut)"
        yield Said("timeout-not-retried", text, stack.changed(i, retrying_also(layer.node, TaskTimedOut)))


def hedge_too_late(stack: PolicyStack) -> Iterator[Said]:
    """A call is given up before its hedge would begin."""
    for i, layer, race in stack.hedges():
        after = race.after.given[0] if isinstance(race.after, DelayList) else race.after
        if race.count == 1 or not isinstance(after, float) or after in (0, math.inf):
            continue
        limit = min(layer.inner.slowest, layer.around.limit)
        if after >= limit > 0:  # if it takes no time, another rule reports it
            text = (
                f"no call begins {format_duration(after)} after another, as a call "
                f"times out after {format_duration(limit)}"
            )
            yield Said("hedge-too-late", text, stack.changed(i, evolve(race, after=neat(limit / 2))))


def timeout_ends_hedge(stack: PolicyStack) -> Iterator[Said]:
    """A call that times out ends its hedge, as ``on`` does not name that error."""
    for i, _, race in stack.hedges():
        if race.count == 1 or matches(race.on, TASK_TIMED_OUT) is not False or not any(map(times_out, race.branches)):
            continue
        given: object = race.on
        several = cast("tuple[type[BaseException], ...]", given if isinstance(given, tuple) else (given,))
        text = "a call that times out (TaskTimedOut) ends the hedge, as `on` does not name that error"
        yield Said("timeout-ends-hedge", text, stack.changed(i, evolve(race, on=(*several, TaskTimedOut))))


def hedge_in_place(stack: PolicyStack) -> Iterator[Said]:
    """An ``.inline()`` function blocks the thread that would start its hedges."""
    core = stack.core.node
    for i, _, race in stack.hedges():
        if i >= 0 and race.count > 1 and isinstance(core, TaskNode) and core.inline:
            text = "an `.inline()` function blocks the thread that would start its hedges"
            yield Said("hedge-in-place", text, stack.build(stack.nodes(), evolve(core, inline=False)))


def shared_first_task(stack: PolicyStack) -> Iterator[Said]:
    """Several branches begin with the same task: ``user >> a & user >> b``."""
    fan = stack.core.node
    if not isinstance(fan, FanOutNode):
        return
    rows = [steps_of(branch) for branch in fan.branches]
    shared = [steps[0] for steps in rows if len(steps) > 1 and sum(same(steps[0], other[0]) for other in rows) > 1]
    begin = next((node for node in shared if called_again(node)), None)
    if begin is None:
        return
    many = sum(same(steps[0], begin) for steps in rows)
    if many == len(rows) and all(has_task(steps[1:]) for steps in rows):
        better: Node = Seq((begin, evolve(fan, branches=tuple(in_a_row(steps[1:]) for steps in rows))))
    else:
        once = Scope(SingleFlight(), begin)
        again = (in_a_row((once, *steps[1:]) if same(steps[0], begin) else steps) for steps in rows)
        better = evolve(fan, branches=tuple(again))
    text = f"{many} branches begin with the same task, which is called for each of them"
    yield Said("shared-first-task", text, stack.build(stack.nodes(), better))


def times_out(node: Node) -> bool:
    """Whether it may fail with the error of a timeout in it that no retry or fallback in it handles."""
    todo = [node]
    while todo:
        node = todo.pop()
        facts = node.policy.facts() if isinstance(node, Scope) else Facts()
        if ends(facts):
            return True
        kept = isinstance(node, (Each, Expand)) and node.on_error != "raise"
        if facts.repeats or kept or keeps_failures(node) is not None:
            continue
        inner = list(parts(node))
        if isinstance(node, OrElse) and matches(node.on, TASK_TIMED_OUT) is not False:
            del inner[0]  # its primary: the fallback handles a timeout, or its predicate may do so
        todo.extend(inner)
    return False


def called_again(node: Node) -> bool:
    """Whether each branch with it really calls a task."""
    return has_task((node,)) and not any(isinstance(n, Scope) and n.policy.facts().shares for n in walk(node))


def steps_of(branch: Node) -> tuple[Node, ...]:
    """The steps of a branch. A generator function and the step that takes its items count as one."""
    steps = branch.steps if isinstance(branch, Seq) else (branch,)
    return (Seq(steps[:2]), *steps[2:]) if open_end(steps[0]) is not None else steps


def has_task(steps: tuple[Node, ...]) -> bool:
    """Whether there is a task among the steps. A branch needs one."""
    return any(isinstance(node, TaskNode) for step in steps for node in walk(step))


def same(a: Node, b: Node) -> bool:
    """Whether they are equal and use the same values."""
    return a == b and list(used_by(a)) == list(used_by(b))


def used_by(node: Node) -> Iterator[bytes]:
    """The origins of the tasks whose values are used."""
    sources = (use.source for n in walk(node) if isinstance(n, TaskNode) for use in n.uses)
    return (n.origin for source in sources for n in walk(source) if isinstance(n, TaskNode))


def in_a_row(steps: tuple[Node, ...]) -> Node:
    """Steps as one node."""
    return steps[0] if len(steps) == 1 else Seq(steps)


REACH: tuple[Callable[[PolicyStack], Iterator[Said]], ...] = (
    timeout_unreachable,
    timeout_below_1_ms,
    retries_do_not_fit,
    retries_multiply,
    retry_never_matches,
    timeout_not_retried,
    hedge_too_late,
    timeout_ends_hedge,
    hedge_in_place,
    shared_first_task,
)
