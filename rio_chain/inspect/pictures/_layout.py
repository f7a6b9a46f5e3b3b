"""The layout of a picture: leaves, rows, fans and frames. Each measures itself, is placed, and draws its parts.

A chain consists of rows of steps, branches that join again, and frames, so no lines have to cross.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import fsum
from typing import Any

from rio_chain.inspect.pictures._badges import Badge
from rio_chain.inspect.pictures._canvas import (
    BETWEEN,
    CHANNEL,
    CURVE,
    GAP,
    LEAD,
    MARK,
    NAME,
    PAD,
    PILL,
    RING,
    SMALL,
    WIDEST_ROW,
    Canvas,
    Shape,
    badge_boxes,
    bend,
    in_rows,
    n,
    rightward,
    rings,
    row_width,
    straight,
)
from rio_chain.inspect.pictures._picture import BadgeBox, Box, Edge, Kind, Line, Mark
from rio_chain.inspect.pictures._text_width import width


class LeafShape(Shape):
    """A task, a bridge, a constant, or a fold."""

    def __init__(
        self,
        kind: Kind,
        text: str,
        full: str,
        *,
        layers: Sequence[Badge] = (),
        places: Sequence[Badge] = (),
        mark: Mark | None = None,
        **about: Any,
    ) -> None:
        super().__init__()
        self.kind: Kind = kind
        self.text, self.full = text, full
        self.rings = rings(layers)
        self.badges = [*places, *layers]
        self.mark = mark
        self.about = about
        self.ports = 0  # the number of values that it uses

    def measure(self) -> None:
        """As ``Shape.measure``."""
        big = self.kind == "task"
        size = NAME if big else NAME - 1
        self.rows = in_rows(self.badges)
        self.head = 34.0 if big else 26.0
        mark = width(self.mark.text, SMALL) + 34 if self.mark is not None else 0
        inner = max(
            width(self.text, size, mono=True) + (28 if big else 24),
            max((row_width(row) for row in self.rows), default=0) + 20,
            mark,
            54 + 12 * self.ports if big else 34,
        )
        rim = RING * len(self.rings)
        self.width = inner + 2 * rim
        self.height = self.head + (PILL + 4) * len(self.rows) + (4 if self.rows else 0) + 2 * rim
        self.height += MARK if self.mark is not None else 0
        self.axis = self.height / 2

    def place(self, x: float, y: float, canvas: Canvas) -> None:
        """As ``Shape.place``."""
        super().place(x, y, canvas)
        top = y + RING * len(self.rings) + self.head - 2
        found: list[BadgeBox] = []
        for i, row in enumerate(self.rows):
            found += badge_boxes(row, x + (self.width - row_width(row)) / 2, top + i * (PILL + 4))
        canvas.boxes.append(
            Box(
                self.kind,
                x,
                y,
                self.width,
                self.height,
                self.text,
                self.full,
                tuple(found),
                self.rings,
                mark=self.mark,
                **self.about,
            )
        )

    def port(self, number: int) -> tuple[float, float]:
        """The point where a used value enters it, upwards."""
        return self.x + self.width / 2 - 8 - 12 * number, self.y + self.height

    def tap(self) -> tuple[float, float]:
        """As ``Shape.tap``."""
        return self.x + self.width / 2 + 8, self.y + self.height


class RowShape(Shape):
    """Steps in sequence."""

    def __init__(self, steps: Sequence[Shape]) -> None:
        super().__init__()
        self.steps = steps
        for step in steps:
            step.parent = self
        self.tipless = steps[0].tipless

    def measure(self) -> None:
        """As ``Shape.measure``."""
        for step in self.steps:
            step.measure()
        self.axis = max(step.axis for step in self.steps)
        self.height = self.axis + max(step.height - step.axis for step in self.steps)
        self.width = fsum(step.width for step in self.steps) + GAP * (len(self.steps) - 1)

    def place(self, x: float, y: float, canvas: Canvas) -> None:
        """As ``Shape.place``."""
        super().place(x, y, canvas)
        level = y + self.axis
        for i, step in enumerate(self.steps):
            if i:
                canvas.edges.append(straight(x, x + GAP, level, tip=not step.tipless))
                x += GAP
            step.place(x, level - step.axis, canvas)
            x += step.width

    def tap(self) -> tuple[float, float]:
        """As ``Shape.tap``."""
        return self.steps[-1].tap()


class FanShape(Shape):
    """Branches that begin at one point and join at another."""

    tipless = True

    def __init__(
        self,
        branches: Sequence[Shape],
        *,
        labels: Sequence[str] = (),
        lines: Sequence[Line] = (),
        gives: str = "",
        full: str = "",
        choice: bool = False,
        mark: Mark | None = None,
        straight_on: bool = False,
    ) -> None:
        super().__init__()
        self.branches = branches
        for branch in branches:
            branch.parent = self
        self.labels = labels or [""] * len(branches)
        self.lines: list[Line] = list(lines) or ["flow"] * len(branches)
        self.gives, self.full = gives, full
        self.choice = choice
        self.mark = mark
        self.straight_on = straight_on  # the line of the chain goes straight through the first branch
        self.channels: tuple[dict[Hashable, int], dict[Hashable, int]] = ({}, {})  # left and right, for used values

    def measure(self) -> None:
        """As ``Shape.measure``."""
        self.tops: list[float] = []
        height = 0.0
        for branch in self.branches:
            branch.measure()
            self.tops.append(height)
            height += branch.room + BETWEEN
        self.height = height - BETWEEN
        axes = [top + branch.axis for top, branch in zip(self.tops, self.branches, strict=True)]
        self.axis = axes[0] if self.straight_on else (axes[0] + axes[-1]) / 2
        self.fork = 22.0 if self.choice else 3.0
        self.chip = width(self.gives, SMALL) + 16 if self.gives else 3.0
        self.wide = max(branch.width for branch in self.branches)
        self.label = max(width(text, SMALL) for text in self.labels) + (12 if any(self.labels) else 6)
        left, right = (CHANNEL * (1 + len(side)) if side else 0.0 for side in self.channels)
        self.lead = LEAD if self.choice else 0.0  # room for the tip of an arrow
        self.column = self.lead + self.fork + CURVE + self.label + left  # where the branches begin
        self.meet = self.column + self.wide + 6 + right  # where their lines begin to join
        self.width = self.meet + CURVE + self.chip

    def place(self, x: float, y: float, canvas: Canvas) -> None:
        """As ``Shape.place``."""
        super().place(x, y, canvas)
        level = y + self.axis
        start = x + self.lead + self.fork
        if self.choice:
            canvas.edges.append(straight(x, x + self.lead, level, tip=True))
            full = self.full if self.mark is None else f"{self.full}\n{self.mark.text}: {self.mark.full}"
            where = start - self.fork, level - 11, self.fork, 22
            canvas.boxes.append(Box("choice", *where, "", full, mark=self.mark))
        else:
            canvas.boxes.append(Box("fork", start - 3, level - 1.5, 3, 3))
        end = x + self.meet
        self.joint = end + CURVE, level
        for branch, top, label, line in zip(self.branches, self.tops, self.labels, self.lines, strict=True):
            at = x + self.column + (self.wide - branch.width) / 2
            branch.place(at, y + top, canvas)
            across = y + top + branch.axis
            tip = None if branch.tipless else rightward(at, across)
            enter = f"M{n(start)} {n(level)}{bend(start, level, across)}H{n(at)}"
            canvas.edges.append(Edge(line, enter, tip, label, label, (start + CURVE + 2, across - 5)))
            leave = f"M{n(at + branch.width)} {n(across)}H{n(end)}{bend(end, across, level)}"
            canvas.edges.append(Edge("flow", leave))
        chip = 20 if self.gives else 3
        full = self.full if self.gives else ""
        where = end + CURVE, level - chip / 2, self.chip, chip
        canvas.boxes.append(Box("join" if self.gives else "fork", *where, self.gives, full))

    def channel(self, side: int, key: Hashable) -> float:
        """The x of the vertical line of a used value, directly left or right of the branches."""
        inset = CHANNEL * (self.channels[side][key] + 0.7)
        return self.x + (self.column - inset if side == 0 else self.column + self.wide + inset)

    def tap(self) -> tuple[float, float]:
        """As ``Shape.tap``."""
        x, y = self.joint
        return x + self.chip / 2, y + (10 if self.gives else 2)


class FrameShape(Shape):
    """A frame around a part of the chain: for policies, for a name, or for many items."""

    tipless = True

    def __init__(
        self,
        kind: Kind,
        inner: Shape,
        layers: Sequence[Badge],
        *,
        label: str = "",
        full: str = "",
        said: Sequence[Badge] = (),
    ) -> None:
        super().__init__()
        self.kind: Kind = kind
        self.inner = inner
        inner.parent = self
        self.rings = rings(layers)
        self.badges = [*said, *layers]
        self.label, self.full = label, full

    def measure(self) -> None:
        """As ``Shape.measure``."""
        self.inner.measure()
        self.rim = RING * max(0, len(self.rings) - 1)
        self.stack = 7.0 if self.kind == "items" else 0.0  # room for copies drawn behind it
        named = width(self.label, SMALL) + 8 if self.label else 0
        self.rows = in_rows(self.badges, max(WIDEST_ROW, self.inner.width))
        head = max([named + row_width(self.rows[0]), *map(row_width, self.rows[1:])] if self.rows else [named])
        self.top = 12 + (PILL + 4) * max(1, len(self.rows))
        self.width = max(self.inner.width + 2 * PAD + 8, head + 2 * PAD) + 2 * self.rim + self.stack
        self.axis = self.rim + self.top + self.inner.axis
        self.height = self.rim + self.top + self.inner.height + PAD + self.rim + self.stack
        self.named = named

    def place(self, x: float, y: float, canvas: Canvas) -> None:
        """As ``Shape.place``."""
        super().place(x, y, canvas)
        left = x + self.rim + PAD
        found: list[BadgeBox] = []
        for i, row in enumerate(self.rows):
            found += badge_boxes(row, left + (0 if i else self.named), y + self.rim + 8 + i * (PILL + 4))
        size = self.width - self.stack, self.height - self.stack
        canvas.boxes.append(Box(self.kind, x, y, *size, self.label, self.full, tuple(found), self.rings))
        inside = size[0] - 2 * self.rim
        at = x + self.rim + (inside - self.inner.width) / 2
        level = y + self.axis
        self.inner.place(at, level - self.inner.axis, canvas)
        canvas.edges.append(straight(x, at, level, tip=not self.inner.tipless))
        canvas.edges.append(straight(at + self.inner.width, x + self.width, level))

    def tap(self) -> tuple[float, float]:
        """As ``Shape.tap``."""
        return self.x + self.width - self.stack - 14, self.y + self.height - self.stack
