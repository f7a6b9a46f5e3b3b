"""explain(): a chain as an indented tree. A policy is above what it wraps, so you read from the outside in."""

from __future__ import annotations

from collections.abc import Iterator

from rio_chain._core.source_text import constant_source
from rio_chain._core.units import escape_nonprintable, short_repr
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
    OrElse,
    Piece,
    RaceNode,
    Scope,
    Seq,
    TaskNode,
    parts,
)
from rio_chain.chain._pieces import cut
from rio_chain.chain._plan import Plan
from rio_chain.chain._resources import resources_source
from rio_chain.chain._source import tests_words
from rio_chain.inspect._text import Text
from rio_chain.inspect._words import (
    each_words,
    expand_words,
    fails,
    kept_names,
    race_words,
    time_limit_words,
    using,
    words,
)


def explain(plan: Plan) -> Text:
    """The tree of a plan, with one part on each line. Names are those of the Outcome; durations are milliseconds."""
    return Text("\n".join(_Tree(plan).lines(plan.root, "")))


def explain_pieces(plan: Plan) -> Text:
    """The same with the pieces that run on the workers of a cluster; what is in none of them stays in the client."""
    return explain(cut(plan))


class _Tree:
    def __init__(self, plan: Plan) -> None:
        self.tasks = iter(plan.tasks)
        self.bridges = iter(plan.bridges)
        self.kept = kept_names(plan)
        self.pieces = 0

    def lines(self, node: Node, indent: str, label: str = "") -> Iterator[str]:
        """The lines of one node. ``label`` is the name that its parent gives it."""
        while isinstance(node, Kept):
            node = node.inner
        if isinstance(node, Piece):
            self.pieces += 1
            yield from self.lines(node.inner, indent, f"{label}piece {self.pieces}: ")
            return
        yield f"{indent}{label}{self.head(node)}"
        labels = _labels(node)
        for i, part in enumerate(parts(node)):
            yield from self.lines(part, indent + "  ", labels[i] if labels else "")
        if isinstance(node, OrElse) and isinstance(node.fallback, Constant):
            yield f"{indent}  else the constant {short_repr(node.fallback.value)}"
        if isinstance(node, OrElse) and isinstance(node.fallback, Handler):
            yield f"{indent}  else {node.fallback}"

    def head(self, node: Node) -> str:
        """The node itself, in one line."""
        if isinstance(node, TaskNode):
            return f"task {next(self.tasks).name} ({_how(node)}){using(node, self.kept)}"
        if isinstance(node, Bridge):
            how = _how(node)
            return f"bridge {next(self.bridges).name}" + (f" ({how})" if how != "sync" else "")
        if isinstance(node, Scope):
            return words(node.policy)
        if isinstance(node, Named):
            return f"{node.name}:"
        return "in order" if isinstance(node, Seq) else _joined(node)


def _joined(node: Node) -> str:
    """How a node combines its parts, in words."""
    if isinstance(node, RaceNode):
        return race_words(node)
    if isinstance(node, OrElse):
        return f"{fails(node)}, something else"
    if isinstance(node, Each):
        return each_words(node)
    if isinstance(node, Expand):
        return expand_words(node)
    if isinstance(node, Choose):
        return "by the value, the first of these that fits"
    assert isinstance(node, FanOutNode)  # noqa: S101 - a Plan has no Then
    least = "until" if node.time_limit is None else "at least"
    enough = "" if node.need is None else f", {least} {node.need} of {len(node.branches)} have succeeded"
    gives = "a dict" if node.keys is not None else "a tuple of Results" if node.settle else "a tuple"
    limit = time_limit_words(node.time_limit, keeps=True)
    return f"together, on the same input{enough}{limit}, giving {gives}"


def _how(node: TaskNode | Bridge) -> str:
    how = "async" if node.is_async else "sync"
    how += " generator" if node.generator else ""
    if isinstance(node, TaskNode):
        how += f", needs {resources_source(node.resources)}" if node.resources else ""
        how += ", inline" if node.inline else f", in lane {constant_source(node.lane)}" if node.lane is not None else ""
    return how


def _labels(node: Node) -> list[str]:
    """The names that a node gives its parts; empty if it gives none."""
    if isinstance(node, FanOutNode):
        return [f"{escape_nonprintable(key)}: " for key in node.keys or ()]
    if isinstance(node, OrElse):
        return ["", "else "]
    if isinstance(node, RaceNode) and node.hedge:
        return [""] + ["or "] * (len(node.branches) - 1)
    return [f"{text}: " for text in tests_words(node)] if isinstance(node, Choose) else []
