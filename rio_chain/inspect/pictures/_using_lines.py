"""The lines of values that ``.using`` passes. They go below and beside all shapes, so they cross no boxes or labels.

A line goes down from where the value was made into a lane below its branch, then along the lane to the right end of the
branches, then down to the lane below the next outer branch, and so on. It goes up to the task that uses it in the same
way.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from attrs import frozen

from rio_chain.inspect.pictures._canvas import Canvas, Shape, n
from rio_chain.inspect.pictures._layout import FanShape, LeafShape
from rio_chain.inspect.pictures._picture import Edge
from rio_chain.inspect.pictures._text_width import cut


@frozen
class Way:
    """The line from a shape to a leaf: out to the lane that is common to both, and in again."""

    source: Shape
    target: LeafShape
    keyword: str
    port: int
    out: tuple[tuple[Shape, FanShape], ...]
    common: Shape
    back: tuple[tuple[Shape, FanShape], ...]

    @property
    def key(self) -> Hashable:
        """The key of its lanes: uses of one value under one keyword share them."""
        return id(self.source), self.keyword


def reserve(source: Shape, target: LeafShape, keyword: str) -> Way:
    """Reserve room for the line of a used value. Call it before anything is measured."""
    out, back = list(_slots(source)), list(_slots(target))
    above = [slot for slot, _ in back]
    meet = next(i for i, (slot, _) in enumerate(out) if slot in above)
    common = out[meet][0]
    outside = [(slot, fan) for slot, fan in out[:meet] if fan is not None]
    inside = [(slot, fan) for slot, fan in back[: above.index(common)] if fan is not None]
    way = Way(source, target, keyword, target.ports, tuple(outside), common, tuple(inside))
    target.ports += 1
    for slot in (common, *(slot for slot, _ in outside), *(slot for slot, _ in inside)):
        slot.lanes.setdefault(way.key, len(slot.lanes))
    for side, pairs in ((1, outside), (0, inside)):
        for _, fan in pairs:
            fan.channels[side].setdefault(way.key, len(fan.channels[side]))
    return way


def draw(way: Way, canvas: Canvas) -> None:
    """Draw the line of a used value. Call it after everything is placed."""
    x, y = way.source.tap()
    path = f"M{n(x)} {n(y)}"
    for slot, fan in way.out:
        path += f"V{n(slot.lane(way.key))}H{n(fan.channel(1, way.key))}"
    level = way.common.lane(way.key)
    path += f"V{n(level)}"
    for slot, fan in reversed(way.back):
        level = slot.lane(way.key)
        path += f"H{n(fan.channel(0, way.key))}V{n(level)}"
    x, y = way.target.port(way.port)
    path += f"H{n(x)}V{n(y)}"
    label = cut(way.keyword, 18)
    canvas.edges.append(Edge("use", path, (x, y, "up"), label, way.keyword, (x - 5, level - 4)))


def _slots(shape: Shape) -> Iterator[tuple[Shape, FanShape | None]]:
    """The branches that contain a shape, from the inside out, each with its fan; the last one is the whole chain."""
    here: Shape | None = shape
    while here is not None:
        parent = here.parent
        if parent is None or isinstance(parent, FanShape):
            yield here, parent
        here = parent
