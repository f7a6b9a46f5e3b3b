"""Short texts for badges: policies, and other facts in two or three words."""

from __future__ import annotations

import math

from attrs import frozen

from rio_chain._core.source_text import on_source
from rio_chain._core.units import escape_nonprintable, format_duration
from rio_chain.chain._nodes import Each, Expand, FanOutNode, OrElse, RaceNode, TaskNode
from rio_chain.inspect._words import fails, race_words, words
from rio_chain.inspect.pictures._text_width import cut
from rio_chain.policies import Policy
from rio_chain.policies._best_and_quorum import Best, Quorum

LONGEST = 30  # characters of a badge


@frozen
class Badge:
    """A badge: a short text, the full text, and the kind of colour."""

    text: str
    full: str
    tone: str


def layer(policy: Policy) -> Badge:
    """The badge of a policy."""
    label = policy.label()
    return Badge(cut(escape_nonprintable(label.text), LONGEST), words(policy), label.tone)


def hedge(node: RaceNode) -> Badge:
    """The badge of a ``.replica``."""
    return Badge(cut(f"replica {node.count}{_after(node)}", LONGEST), race_words(node), "hedge")


def place(call: TaskNode) -> Badge | None:
    """The badge for where a task runs, if that is not the default."""
    if call.inline:
        return Badge("inline", "runs in place, with no thread of its own", "place")
    if call.lane is not None:
        return Badge(cut(f"lane {call.lane}", LONGEST), cut(f"runs in a process of lane {call.lane}", 200), "place")
    return None


def _after(node: RaceNode) -> str:
    if not isinstance(node.after, float):
        return ", late"
    if node.after == math.inf:
        return ", on failure"
    return f", after {format_duration(node.after)}" if node.after else ""


def gives(node: FanOutNode | RaceNode) -> str:
    """The result of branches that join, in a word or two."""
    if isinstance(node, RaceNode):
        pick = node.pick
        return "best" if isinstance(pick, Best) else f"{pick.k} agree" if isinstance(pick, Quorum) else "first"
    if node.need is not None:
        least = "" if node.time_limit is None else "at least "
        return cut(f"{least}{node.need} of {len(node.branches)}", LONGEST)
    return "dict" if node.keys is not None else "results" if node.settle else "tuple"


def items(node: Each | Expand) -> str:
    """An ``each`` or ``expand`` in a few words."""
    limit = node.time_limit if isinstance(node, Each) else None
    within = "" if limit is None else f", {format_duration(limit)}"
    return cut(f"{'each item' if isinstance(node, Each) else 'expand'}, {node.limit} at once{within}", LONGEST)


def constant(node: OrElse, value: str, *, used: bool) -> Badge:
    """The badge of a constant fallback. ``used``: whether the run has used it."""
    text = f"{otherwise(node)} {value}"
    full = f"{fails(node)}: the constant {value}"
    if used:
        return Badge(f"{cut(text, LONGEST - 6)}, used", f"{full}\nused in this run", "else")
    return Badge(cut(text, LONGEST), full, "else")


def otherwise(node: OrElse) -> str:
    """When the fallback is used, in a few words."""
    return "else" if node.on is Exception else cut(f"else, on {on_source(node.on)}", LONGEST)
