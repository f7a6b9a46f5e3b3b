"""mermaid(): a chain as the text of a Mermaid flowchart."""

from __future__ import annotations

import re
from itertools import count, pairwise, product

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
    OrElse,
    RaceNode,
    Scope,
    TaskNode,
    is_hedge_of_one,
    parts,
)
from rio_chain.chain._plan import Plan
from rio_chain.chain._source import tests_words
from rio_chain.inspect._text import Text
from rio_chain.inspect._words import each_words, expand_words, fails, race_words, time_limit_words, words


class Mermaid(Text):
    """The text of a flowchart. JupyterLab displays the diagram; elsewhere paste the text into a Markdown code block."""

    __slots__ = ()

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/vnd.mermaid": str(self), "text/plain": str(self)}


def mermaid(plan: Plan) -> Mermaid:
    """The flowchart of a plan: tasks as boxes, bridges rounded, policies around several tasks as frames.

    Dotted arrows lead to fallbacks. A fan-out ends in a hexagon that shows its result. A ``choose`` is a rhombus, and
    its arrows have the tests. Any other arrow with a word leads to the task that uses the value as an argument of that
    name.
    """
    drawing = _Drawing(plan)
    first, last = drawing.draw(plan.root)
    drawing.arrow(["input"], first)
    drawing.arrow(last, ["output"])
    lines = ["flowchart LR", '  input(("input"))', *drawing.lines, '  output(("output"))', *drawing.arrows]
    return Mermaid("\n".join(lines))


def label(*lines: str) -> str:
    """A quoted label. All but letters, digits and harmless signs is escaped."""
    # a colon is kept only before a blank: Mermaid reads `style x:y#34;` as a style, and drops its last `;`
    return '"' + "<br/>".join(re.sub(r"[^A-Za-z0-9_ .,:=()/-]|:(?! )", _entity, line) for line in lines) + '"'


def _entity(found: re.Match[str]) -> str:
    return f"#{ord(found[0])};"


class _Drawing:
    def __init__(self, plan: Plan) -> None:
        self.tasks = iter(plan.tasks)
        self.bridges = iter(plan.bridges)
        self.lines: list[str] = []
        self.arrows: list[str] = []
        self.kept: dict[int | None, list[str]] = {}  # the boxes that a kept value comes from
        self.ids = count()
        self.depth = 1

    def draw(self, node: Node) -> tuple[list[str], list[str]]:
        """Draw a node. Gives the ids that it begins with, and those that it ends with."""
        if isinstance(node, Kept):
            ends = self.draw(node.inner)
            self.kept[node.place] = ends[1]
            return ends
        if isinstance(node, (TaskNode, Bridge, Scope)) or is_hedge_of_one(node):
            return self.boxed(node)
        if isinstance(node, Named):
            return self.frame(node.name, node.inner)
        if isinstance(node, (Each, Expand)):
            return self.frame(each_words(node) if isinstance(node, Each) else expand_words(node), node.inner)
        if isinstance(node, OrElse):
            return self.or_else(node)
        return self.choose(node) if isinstance(node, Choose) else self.joined(node)

    def joined(self, node: Node) -> tuple[list[str], list[str]]:
        """Draw steps, or branches that join again."""
        ends = [self.draw(part) for part in parts(node)]
        if isinstance(node, (FanOutNode, RaceNode)):
            join = self.box("{{", label(_gives(node)), "}}")
            self.arrow([id_ for _, last in ends for id_ in last], [join])
            return [id_ for first, _ in ends for id_ in first], [join]
        for (_, last), (first, _) in pairwise(ends):
            self.arrow(last, first)
        return ends[0][0], ends[-1][1]

    def boxed(self, node: Node) -> tuple[list[str], list[str]]:
        """A task and its policies in one box, the innermost policy first; or a frame around several tasks."""
        policies: list[str] = []
        kept: list[int] = []
        inner: Node = node
        while isinstance(inner, (Scope, Kept)) or is_hedge_of_one(inner):
            if isinstance(inner, Kept):
                kept.append(inner.place)
            else:
                policies.insert(0, words(inner.policy) if isinstance(inner, Scope) else race_words(inner))
            inner = parts(inner)[0]
        if isinstance(inner, TaskNode):
            id_ = self.box("[", label(next(self.tasks).name, *policies), "]")
            for use in inner.uses:
                self.arrow(self.kept[use.kept], [id_], f"-- {label(use.keyword)} -->")
            ends = [id_], [id_]
        elif isinstance(inner, Bridge):
            id_ = self.box("([", label(next(self.bridges).name, *policies), "])")
            ends = [id_], [id_]
        else:
            ends = self.frame(", ".join(policies), inner)
        self.kept.update((place, ends[1]) for place in kept)
        return ends

    def frame(self, name: str, inner: Node) -> tuple[list[str], list[str]]:
        """Draw a part of the chain that has a name or policies in a frame."""
        self.line(f"subgraph f{next(self.ids)}[{label(name)}]")
        self.depth += 1
        ends = self.draw(inner)
        self.depth -= 1
        self.line("end")
        return ends

    def or_else(self, node: OrElse) -> tuple[list[str], list[str]]:
        """Draw the primary, and a dotted arrow to the fallback."""
        first, last = self.draw(node.primary)
        if isinstance(node.fallback, Constant):
            other = self.box("[/", label(short_repr(node.fallback.value)), "/]")
            begins, ends = [other], [other]
        elif isinstance(node.fallback, Handler):
            other = self.box("([", label(str(node.fallback)), "])")
            begins, ends = [other], [other]
        else:
            begins, ends = self.draw(node.fallback)
        text = fails(node).removeprefix("when that ")
        self.arrow(last, begins, f"-. {text if node.on is Exception else label(text)} .->")
        return first, [*last, *ends]

    def choose(self, node: Choose) -> tuple[list[str], list[str]]:
        """Draw a rhombus, and an arrow with the test to each branch."""
        question = self.box("{", label("choose"), "}")
        ends: list[str] = []
        for text, branch in zip(tests_words(node), node.branches, strict=True):
            first, last = self.draw(branch)
            self.arrow([question], first, f"-- {label(text)} -->")
            ends += last
        return [question], ends

    def box(self, left: str, text: str, right: str) -> str:
        """Add a node to the flowchart. Gives its id, which has no text of the user."""
        id_ = f"n{next(self.ids)}"
        self.line(f"{id_}{left}{text}{right}")
        return id_

    def line(self, text: str) -> None:
        """Add a line, indented inside of frames."""
        self.lines.append("  " * self.depth + text)

    def arrow(self, sources: list[str], targets: list[str], sign: str = "-->") -> None:
        """Add an arrow from each source to each target."""
        self.arrows.extend(f"  {source} {sign} {target}" for source, target in product(sources, targets))


def _gives(node: FanOutNode | RaceNode) -> str:
    """The result of branches that join, in words."""
    if isinstance(node, RaceNode):
        return race_words(node)
    what = "dict" if node.keys is not None else "Results" if node.settle else "tuple"
    limit = time_limit_words(node.time_limit, keeps=True)
    least = "" if node.time_limit is None else "at least "
    return what + limit if node.need is None else f"{least}{node.need} of {len(node.branches)}: {what}{limit}"
