"""What ``.using`` hands on: lines below and beside everything else, so that they cross neither boxes nor labels.

A value goes down from where it was made into a lane below its branch, along that to the right end of the branches, down
to the lane below what they are a branch of, and so on; then the same way back up to the task that uses it.
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
    """From a shape to a leaf, by its keyword: up to the lane that both stand above, and down again."""

    source: Shape
    target: LeafShape
    keyword: str
    port: int
    out: tuple[tuple[Shape, FanShape], ...]
    common: Shape
    back: tuple[tuple[Shape, FanShape], ...]

    @property
    def key(self) -> Hashable:
        """Uses of one value under one keyword share their lanes."""
        return id(self.source), self.keyword


def reserve(source: Shape, target: LeafShape, keyword: str) -> Way:
    """Take room for a use; before anything is measured."""
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
    """Draw a use; after everything is placed."""
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
    """The branches that a shape stands in, each with the fan that it is a branch of; at last the whole."""
    here: Shape | None = shape
    while here is not None:
        parent = here.parent
        if parent is None or isinstance(parent, FanShape):
            yield here, parent
        here = parent
