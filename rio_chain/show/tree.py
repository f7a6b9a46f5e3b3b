"""explain(): a chain as an indented tree. What wraps stands above what it wraps: an onion, read from outside in."""

from __future__ import annotations

from collections.abc import Iterator

from rio_chain.nodes import Bridge, Call, Constant, FanOut, Handler, Named, Node, OrElse, Race, Scope, Seq, parts
from rio_chain.plan import Plan
from rio_chain.show.policies import fails, race_words, words
from rio_chain.show.source import value
from rio_chain.show.text import Text
from rio_chain.units import inert, shown


def explain(plan: Plan) -> Text:
    """The tree of a plan, one part a line, names as in the Outcome, durations in milliseconds."""
    return Text("\n".join(_Tree(plan).lines(plan.root, "")))


class _Tree:
    def __init__(self, plan: Plan) -> None:
        self.tasks = iter(plan.tasks)
        self.bridges = iter(plan.bridges)

    def lines(self, node: Node, indent: str, label: str = "") -> Iterator[str]:
        """The lines of one node; ``label`` is what its parent calls it."""
        yield f"{indent}{label}{self.head(node)}"
        labels = [f"{inert(key)}: " for key in node.keys or ()] if isinstance(node, FanOut) else []
        if isinstance(node, OrElse):
            labels = ["", "else "]
        if isinstance(node, Race) and node.hedge:
            labels = [""] + ["or "] * (len(node.branches) - 1)
        for i, part in enumerate(parts(node)):
            yield from self.lines(part, indent + "  ", labels[i] if labels else "")
        if isinstance(node, OrElse) and isinstance(node.fallback, Constant):
            yield f"{indent}  else the constant {shown(node.fallback.value)}"
        if isinstance(node, OrElse) and isinstance(node.fallback, Handler):
            yield f"{indent}  else {node.fallback.name}(error)"

    def head(self, node: Node) -> str:  # noqa: PLR0911 - one for each kind of node
        """What the node is, in one line."""
        if isinstance(node, Call):
            where = ", inline" if node.inline else f", in lane {value(node.lane)}" if node.lane is not None else ""
            how = "async" if node.is_async else f"sync{where}"
            return f"task {next(self.tasks).name} ({how})"
        if isinstance(node, Bridge):
            return f"bridge {next(self.bridges).name}" + (" (async)" if node.is_async else "")
        if isinstance(node, Scope):
            return words(node.policy)
        if isinstance(node, Race):
            return race_words(node)
        if isinstance(node, Named):
            return f"{node.name}:"
        if isinstance(node, Seq):
            return "in order"
        if isinstance(node, OrElse):
            return f"{fails(node)}, something else"
        assert isinstance(node, FanOut)  # noqa: S101 - a Plan holds no Then
        gives = "a dict" if node.keys is not None else "a tuple of Results" if node.settle else "a tuple"
        return f"together, on the same input, giving {gives}"
