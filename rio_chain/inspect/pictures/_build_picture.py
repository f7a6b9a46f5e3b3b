"""Makes a Picture from a Plan: each node becomes a shape, and the shapes are placed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import TypeGuard

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
    Seq,
    TaskNode,
    is_hedge_of_one,
    parts,
    walk,
)
from rio_chain.chain._plan import Plan
from rio_chain.chain._source import tests_words
from rio_chain.inspect._explain import explain
from rio_chain.inspect._lambda_source import lambda_source
from rio_chain.inspect._words import each_words, expand_words, fails, race_words, time_limit_words
from rio_chain.inspect.pictures import _badges
from rio_chain.inspect.pictures._badges import Badge
from rio_chain.inspect.pictures._canvas import LANE, SAMPLE, SMALL, Canvas, Shape, straight
from rio_chain.inspect.pictures._fold import DEEPEST, ends, limit
from rio_chain.inspect.pictures._layout import FanShape, FrameShape, LeafShape, RowShape
from rio_chain.inspect.pictures._picture import Box, LegendEntry, Line, Mark, Marks, Picture, State
from rio_chain.inspect.pictures._text_width import cut, width
from rio_chain.inspect.pictures._theme import LEGEND
from rio_chain.inspect.pictures._using_lines import Way, draw, reserve
from rio_chain.inspect.pictures._wrapped_row import WrappedRow

NAMED = 28  # characters of a name
LABEL = 22  # characters of a label at an edge
LISTED = 20  # names of folded tasks that are listed
MARGIN = 10.0
HEAD = 24.0  # the height of the line with the result of the run
LEGEND_HIGH = 22.0
END = 12.0  # the size of the dots at the ends of a chain
ABOUT = 4_000  # characters of the description
NO_MARKS = Marks()
PILLS = 12  # badges around one shape
WORST: tuple[State, ...] = (
    "failed",
    "timed_out",
    "abandoned",
    "cancelled",
    "running",
    "waiting",
    "succeeded",
    "skipped",
)


def picture(plan: Plan, marks: Marks = NO_MARKS) -> Picture:
    """The picture of a plan. With marks of a run it shows the result of each part."""
    builder = _Builder(plan, marks)
    root = builder.shape(plan.root, 0)
    return framed(root, still(plan.title), cut_lines(still(explain(plan)), ABOUT), marks.head, builder.ways)


def framed(root: Shape, title: str, about: str, head: Mark | None = None, ways: Sequence[Way] = ()) -> Picture:
    """A picture of one shape between two dots, with a line above it and a legend below it."""
    root.measure()
    canvas = Canvas()
    x, y = MARGIN, MARGIN + (HEAD if head is not None else 0)
    level = y + max(root.axis, END / 2)
    canvas.boxes.append(Box("end", x, level - END / 2, END, END, "", "input"))
    x += END
    canvas.edges.append(straight(x, x + 24, level, tip=not root.tipless))
    x += 24
    root.place(x, level - root.axis, canvas)
    x += root.width
    out = root.y + root.end
    canvas.edges.append(straight(x, x + 22, out, tip=True))
    x += 22
    canvas.boxes.append(Box("end", x, out - END / 2, END, END, "output", "output"))
    for way in ways:
        draw(way, canvas)
    height = level - root.axis + root.height + LANE * len(root.lanes) + MARGIN
    wide = x + END + MARGIN
    entries = legend(canvas.boxes, height)
    if entries:
        height += LEGEND_HIGH
        wide = max(wide, entries[-1].x + SAMPLE + width(entries[-1].text, SMALL) + 2 * MARGIN)
    if head is not None:
        title = f"{title}: {head.text}"
        wide = max(wide, width(head.text, SMALL + 1) + 3 * MARGIN + 16)
    return Picture(wide, height, title, about, tuple(canvas.boxes), tuple(canvas.edges), head, entries)


def legend(boxes: Sequence[Box], y: float) -> tuple[LegendEntry, ...]:
    """The legend of the rings, if they have several tones."""
    there = {tone for box in boxes for tone in box.rings}
    found: list[LegendEntry] = []
    x = MARGIN + END
    for tone, text in LEGEND.items():
        if tone in there:
            found.append(LegendEntry(x, y + 6, tone, text))
            x += SAMPLE + width(text, SMALL) + 22
    return tuple(found) if len(found) > 1 else ()


def still(text: str) -> str:
    """The text without the addresses of objects, which differ between processes."""
    return re.sub(r" at 0x[0-9a-fA-F.]+", "", text)


def cut_lines(text: str, most: int) -> str:
    """As many of the first lines as fit."""
    if len(text) <= most:
        return text
    return text[:most].rpartition("\n")[0] + "\n..."


class _Builder:
    def __init__(self, plan: Plan, marks: Marks, *, of_request: bool = False) -> None:
        self.of_request = of_request  # whether this is the chain of a Request that a task returned
        self.plan = plan
        self.marks = marks
        self.most = limit(plan.root)
        self.tasks = self.bridges = self.joints = self.fallbacks = 0  # how many were seen so far
        self.kept: dict[int | None, Shape] = {}  # the shapes that kept values come from
        self.ways: list[Way] = []
        self.waiting: list[tuple[TaskNode, LeafShape]] = []
        self.inner: list[_Builder] = []  # builders of Requests that tasks returned

    def shape(self, node: Node, depth: int) -> Shape:
        """The shape of a node, with the policies around it."""
        layers: list[Badge] = []
        kept: list[int] = []
        while isinstance(node, (Scope, Kept)) or is_hedge_of_one(node) or _has_constant(node):
            if isinstance(node, Kept):
                kept.append(node.place)
            elif isinstance(node, OrElse):
                layers.insert(0, self.constant(node))
            else:
                layers.insert(0, _badges.layer(node.policy) if isinstance(node, Scope) else _badges.hedge(node))
            node = parts(node)[0]
        layers = _few(layers)
        shape = self.core(node, layers, depth)
        if depth == 0:
            self.reserve()
        self.kept.update(dict.fromkeys(kept, shape))
        return shape

    def reserve(self) -> None:
        """Reserve room for the lines of used values. All shapes must exist."""
        for call, leaf in self.waiting:
            self.ways += [reserve(self.kept[use.kept], leaf, use.keyword) for use in call.uses]
        for inner in self.inner:
            inner.reserve()
            self.ways += inner.ways

    def core(self, node: Node, layers: list[Badge], depth: int) -> Shape:
        """The shape of a node that is not a policy."""
        if isinstance(node, TaskNode):
            return self.with_nested(self.tasks, self.task(node, layers), depth)
        if isinstance(node, Bridge):
            return self.bridge(node, layers)
        if depth >= DEEPEST:
            return self.folded([node])
        if isinstance(node, Named):
            name = cut(node.name, NAMED)
            return FrameShape("named", self.shape(node.inner, depth + 1), layers, label=name, full=node.name)
        if isinstance(node, (Each, Expand)):
            full = each_words(node) if isinstance(node, Each) else expand_words(node)
            mark = self.joint()
            said = [] if mark is None else [Badge(mark.text, mark.full, mark.state)]
            inner = self.shape(node.inner, depth + 1)
            return FrameShape("items", inner, layers, label=_badges.items(node), full=full, said=said)
        if isinstance(node, Seq):
            steps = self.some(node.steps, depth)[0]
            shape: Shape = RowShape(steps) if depth or layers else WrappedRow(steps)
        else:
            shape = self.fan(node, depth)
        return FrameShape("frame", shape, layers) if layers else shape

    def task(self, call: TaskNode, layers: list[Badge]) -> LeafShape:
        """The shape of a task with its policies."""
        index = self.tasks
        self.tasks += 1
        name = self.plan.tasks[index].name
        where = _badges.place(call)
        mark = self.marks.tasks.get(index)
        source = None if call.explicit else lambda_source(call.fn)
        how = [f"task {name} ({'async' if call.is_async else 'sync'})", *([source] if source else [])]
        lines = [*how, *(layer.full for layer in layers), *([mark.full] if mark is not None and mark.full else [])]
        leaf = LeafShape(
            "task",
            cut(source or name, NAMED),
            "\n".join(lines),
            layers=layers,
            places=[where] if where else [],
            mark=mark,
            task=None if self.of_request else index,
            name=name,
        )
        if call.uses:
            self.waiting.append((call, leaf))
        return leaf

    def with_nested(self, index: int, leaf: LeafShape, depth: int) -> Shape:
        """The shape of a task, followed by that of the Request that it returned."""
        if index not in self.marks.nested or depth >= DEEPEST:
            return leaf
        inner = _Builder(*self.marks.nested[index], of_request=True)
        self.inner.append(inner)
        name, shape = self.plan.tasks[index].name, inner.shape(inner.plan.root, depth + 1)
        full = f"the Request that {name} returned"
        return RowShape([leaf, FrameShape("named", shape, [], label=cut(f"{name} returned", NAMED), full=full)])

    def bridge(self, node: Bridge, layers: list[Badge]) -> LeafShape:
        """The shape of a bridge, which may have policies."""
        index = self.bridges
        self.bridges += 1
        name = self.plan.bridges[index].name
        source = lambda_source(node.fn)
        mark = self.marks.bridges.get(index)
        how = [f"bridge {name}", *([source] if source else []), *(layer.full for layer in layers)]
        full = [*how, *([mark.full] if mark is not None else [])]
        assert isinstance(node, Bridge)  # noqa: S101 - the caller has checked
        return LeafShape("bridge", cut(source or name, NAMED), "\n".join(full), layers=layers, mark=mark)

    def joint(self) -> Mark | None:
        """The mark of the next ``each``, ``expand`` or ``choose``."""
        self.joints += 1
        return self.marks.joints.get(self.joints - 1)

    def some(self, nodes: Sequence[Node], depth: int) -> tuple[list[Shape], list[int]]:
        """The shapes of nodes, with one shape for the middle ones if there are many; and the indexes of those shown."""
        first, last = ends(len(nodes), self.most)
        shapes = [self.shape(node, depth + 1) for node in nodes[:first]]
        numbers = list(range(first))
        if first + last < len(nodes):
            shapes.append(self.folded(nodes[first : len(nodes) - last]))
            shapes += [self.shape(node, depth + 1) for node in nodes[len(nodes) - last :]]
            numbers += [-1, *range(len(nodes) - last, len(nodes))]
        return shapes, numbers

    def folded(self, nodes: Sequence[Node]) -> LeafShape:
        """One shape in place of several nodes."""
        start, kept = self.tasks, list[int]()
        for node in nodes:
            for inner in walk(node):
                self.tasks += isinstance(inner, TaskNode)
                self.bridges += isinstance(inner, Bridge)
                self.joints += isinstance(inner, (Each, Expand, Choose))
                self.fallbacks += isinstance(inner, OrElse)
                if isinstance(inner, Kept):
                    kept.append(inner.place)
        count = self.tasks - start
        names = [task.name for task in islice(self.plan.tasks, start, min(self.tasks, start + LISTED))]
        text = f"... {count} more tasks" if count != 1 else "... 1 more task"
        if not count:
            text = f"... {len(nodes)} more"
        full = ", ".join(cut(name, 60) for name in names) + (f" and {count - LISTED} more" if count > LISTED else "")
        leaf = LeafShape("fold", text, full or text, mark=self.folded_mark(start, self.tasks))
        self.kept.update(dict.fromkeys(kept, leaf))
        return leaf

    def folded_mark(self, low: int, high: int) -> Mark | None:
        """The mark of folded tasks: the worst status among them."""
        found: list[State] = [self.marks.tasks[i].state for i in range(low, high) if i in self.marks.tasks]
        if not found:
            return None
        worst = min(found, key=WORST.index)
        return Mark(worst, f"{found.count(worst)} {worst.replace('_', ' ')}")

    def fan(self, node: Node, depth: int) -> FanShape:
        """The shape of a node with branches."""
        if isinstance(node, OrElse):
            return self.or_else(node, depth)
        assert isinstance(node, (FanOutNode, RaceNode, Choose))  # noqa: S101 - a Plan has no Then
        mark = self.joint() if isinstance(node, Choose) else None
        branches, numbers = self.some(node.branches, depth)
        words = self.words(node)
        labels = [cut(words[i], LABEL) if i >= 0 and words else "" for i in numbers]
        if isinstance(node, Choose):
            full = "the first that fits: " + ", ".join(cut(word, 100) for word in words[:LISTED])
            return FanShape(branches, labels=labels, choice=True, full=full, mark=mark)
        return FanShape(branches, labels=labels, gives=_badges.gives(node), full=_gives(node))

    def words(self, node: FanOutNode | RaceNode | Choose) -> list[str]:
        """The labels of a node's branches; empty if it has none."""
        if isinstance(node, FanOutNode):
            return list(node.keys or ())
        if isinstance(node, Choose):
            return tests_words(node)
        return ["", *["or"] * (len(node.branches) - 1)] if node.hedge else []

    def used(self) -> bool:
        """Whether the fallback of the next ``or_else`` was used in this run."""
        self.fallbacks += 1
        return self.fallbacks - 1 in self.marks.fallbacks

    def constant(self, node: OrElse) -> Badge:
        """The badge of a constant fallback."""
        assert isinstance(node.fallback, Constant)  # noqa: S101 - the caller has checked
        return _badges.constant(node, still(short_repr(node.fallback.value)), used=self.used())

    def or_else(self, node: OrElse, depth: int) -> FanShape:
        """The shape of a fallback: the line goes straight through the primary, and the fallback is below."""
        used = self.used()
        primary = self.shape(node.primary, depth + 1)
        if isinstance(node.fallback, Handler):
            text = lambda_source(node.fallback.fn) or str(node.fallback)
            mark = Mark("succeeded", "used", "used in this run") if used else None
            other: Shape = LeafShape("bridge", cut(text, NAMED), f"{fails(node)}: {text}", mark=mark)
        else:
            assert not isinstance(node.fallback, Constant)  # noqa: S101 - that is a badge
            other = self.shape(node.fallback, depth + 1)
        line: Line = "flow" if used else "else"
        label = _badges.otherwise(node) + (", used" if used else "")
        return FanShape([primary, other], labels=["", label], lines=["flow", line], straight_on=True)


def _has_constant(node: Node) -> TypeGuard[OrElse]:
    return isinstance(node, OrElse) and isinstance(node.fallback, Constant)


def _few(layers: list[Badge]) -> list[Badge]:
    if len(layers) <= PILLS:
        return layers
    rest = layers[PILLS:]
    return [*layers[:PILLS], Badge(f"{len(rest)} more", "\n".join(layer.full for layer in rest[:LISTED]), "place")]


def _gives(node: FanOutNode | RaceNode) -> str:
    if isinstance(node, RaceNode):
        return race_words(node)
    enough = "" if node.need is None else f" of the first {node.need} that succeed"
    if node.need is not None and node.time_limit is not None:
        enough = f" of at least {node.need} that succeed"
    what = "a dict" if node.keys is not None else "a tuple of Results" if node.settle else "a tuple"
    return what + enough + time_limit_words(node.time_limit, keeps=True)
