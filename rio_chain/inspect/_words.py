"""Policies, races, ``each`` and ``expand`` in words; also the values that a task uses."""

from __future__ import annotations

import math

from rio_chain._core.source_text import fn_source, on_source
from rio_chain._core.units import escape_nonprintable, format_duration
from rio_chain.chain._nodes import Each, Expand, Kept, OnError, OrElse, RaceNode, TaskNode, unwrapped, walk
from rio_chain.chain._plan import Plan
from rio_chain.chain._title import title
from rio_chain.policies import AtLeast, Policy
from rio_chain.policies._match_errors import Match

# --- policies ---------------------------------------------------------------------------------------------------


def words(policy: Policy) -> str:
    """A policy in words."""
    return escape_nonprintable(policy.words())


def race_words(node: RaceNode) -> str:
    """A race in words."""
    pick = escape_nonprintable(str(node.pick))
    if not node.hedge:
        return f"together, on the same input: {pick}"
    if not isinstance(node.after, float):
        when = f"the next after {node.after}"
    elif node.after == math.inf:
        when = "the next when one has failed"
    else:
        when = f"the next after {format_duration(node.after)}" if node.after else "all at once"
    on = "" if node.on is Exception else f", on {on_source(node.on)}"
    return f"up to {node.count} calls, {when}{on}: {pick}"


def fails(node: OrElse) -> str:
    """When the fallback is used, in words."""
    return "when that fails" + ("" if node.on is Exception else f" with {on_source(node.on)}")


# --- what the values decide -------------------------------------------------------------------------------------


def each_words(node: Each) -> str:
    """An ``each`` in words."""
    order = "in order" if node.ordered else "as they come"
    words = f"each item, at most {node.limit} at once, {order}{_failures(node.on_error)}{_dropped(node.drop)}"
    if node.take is not None:
        words += f", the first {node.take}" if isinstance(node.take, int) else f", while {fn_source(node.take)} is true"
    if node.key is not None:
        words += f", in a journal by {fn_source(node.key)}"
    return words + time_limit_words(node.time_limit, keeps=node.keeps)


def expand_words(node: Expand) -> str:
    """An ``expand`` in words."""
    words = f"each item and the items it leads to, at most {node.limit} at once"
    words += "" if node.depth is None else f", at most {node.depth} deep"
    words += f", {node.total} in all"
    words += "" if node.more is None else f", more by {fn_source(node.more)}"
    words += "" if node.key.fn is None else f", identified by {fn_source(node.key.fn)}"
    return (
        words
        + _failures(node.on_error)
        + _dropped(node.drop)
        + (", the rest left out" if node.on_limit == "stop" else "")
    )


def time_limit_words(seconds: float | None, *, keeps: bool) -> str:
    """What a ``time_limit=`` does, in words."""
    if seconds is None:
        return ""
    return f", within {format_duration(seconds)}" + (" or as many as have come by then" if keeps else "")


def _failures(which: OnError) -> str:
    if isinstance(which, AtLeast):
        return f", failures dropped, at least {which.least} must succeed"
    words = {"raise": "", "keep": "failures kept", "drop": "failures dropped", "stop": "up to the first failure"}[which]
    return words and f", {words}"


def _dropped(which: Match | None) -> str:
    return "" if which is None else f", without those that fail with {on_source(which)}"


# --- what is used -----------------------------------------------------------------------------------------------


def kept_names(plan: Plan) -> dict[int, str]:
    """The name of each kept node: that of a task as in the Outcome, else the title."""
    found: dict[int, str] = {}
    tasks = 0
    for node in walk(plan.root):
        if isinstance(node, TaskNode):
            tasks += 1
        if isinstance(node, Kept):
            is_task = isinstance(unwrapped(node), TaskNode)  # then it is the next one in plan order
            found[node.place] = plan.tasks[tasks].name if is_task else title(node.inner)
    return found


def using(call: TaskNode, names: dict[int, str]) -> str:
    """The values that a task uses, as text to put after its name: ``, using user=fetch_user``."""
    pairs = [f"{escape_nonprintable(use.keyword)}={names[use.kept]}" for use in call.uses if use.kept is not None]
    return f", using {', '.join(pairs)}" if pairs else ""
