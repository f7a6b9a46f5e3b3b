"""A long row of steps in several lines, as in text: each line continues below, from the left."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rio_chain.inspect.pictures._canvas import GAP, Canvas, Shape, n, rightward, straight
from rio_chain.inspect.pictures._layout import RowShape
from rio_chain.inspect.pictures._picture import Edge

NARROW = 1300.0  # a row up to this width is not wrapped
WIDEST = 1100.0  # the width of each of several lines
DOWN = 34.0  # from one line to the next
TURN = 8.0  # the radius of a corner


class WrappedRow(RowShape):
    """The steps of a whole chain.

    If it has lanes for used values, it stays one line: they would cross the next line.
    """

    def measure(self) -> None:
        """As ``Shape.measure``."""
        super().measure()
        self.lines = [self.steps] if self.lanes else in_lines(self.steps, self.width)
        if len(self.lines) == 1:
            return
        self.tipless = True
        self.width = max(map(length, self.lines)) + 2 * (GAP - 10)
        self.axes = [max(step.axis for step in line) for line in self.lines]
        self.highs = [
            axis + max(step.height - step.axis for step in line)
            for line, axis in zip(self.lines, self.axes, strict=True)
        ]
        self.height = math.fsum(self.highs) + DOWN * (len(self.lines) - 1)
        self.axis = self.axes[0]

    @property
    def end(self) -> float:
        """As ``Shape.end``, in the last line."""
        return self.axis if len(self.lines) == 1 else self.height - self.highs[-1] + self.axes[-1]

    def place(self, x: float, y: float, canvas: Canvas) -> None:
        """As ``Shape.place``."""
        if len(self.lines) == 1:
            super().place(x, y, canvas)
            return
        self.x, self.y = x, y
        left, right = x + GAP - 10, x + self.width
        for i, (line, axis, high) in enumerate(zip(self.lines, self.axes, self.highs, strict=True)):
            at, level = left, y + axis
            if not i:
                canvas.edges.append(straight(x, left, level, tip=not line[0].tipless))
            for k, step in enumerate(line):
                if k:
                    canvas.edges.append(straight(at, at + GAP, level, tip=not step.tipless))
                    at += GAP
                step.place(at, level - step.axis, canvas)
                at += step.width
            if i < len(self.lines) - 1:
                low = y + high + DOWN + self.axes[i + 1]
                middle = y + high + DOWN / 2
                points = [(at, level), (right, level), (right, middle), (x, middle), (x, low), (left, low)]
                tip = None if self.lines[i + 1][0].tipless else rightward(left, low)
                canvas.edges.append(Edge("flow", cornered(points), tip))
            else:
                canvas.edges.append(straight(at, right, level))
            y += high + DOWN


def length(line: Sequence[Shape]) -> float:
    """The length of a line."""
    return math.fsum(step.width for step in line) + GAP * (len(line) - 1)


def in_lines(steps: Sequence[Shape], total: float) -> list[list[Shape]]:
    """The steps in as few lines as possible, of about equal length."""
    if total <= NARROW:
        return [list(steps)]
    fewest = len(broken(steps, WIDEST))
    limit = total / fewest
    while limit < WIDEST and len(broken(steps, limit)) > fewest:
        limit += GAP
    return broken(steps, limit)


def broken(steps: Sequence[Shape], most: float) -> list[list[Shape]]:
    """The steps in lines of at most this length. A longer step has a line of its own."""
    lines: list[list[Shape]] = []
    long = 0.0
    for step in steps:
        long += GAP + step.width
        if not lines or long > most:
            lines.append([])
            long = step.width
        lines[-1].append(step)
    return lines


def cornered(points: Sequence[tuple[float, float]]) -> str:
    """A line through points, with right angles and round corners."""
    path = f"M{n(points[0][0])} {n(points[0][1])}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        (x, y), (fx, fy) = toward(corner, before), toward(corner, after)
        path += f"L{n(x)} {n(y)}Q{n(corner[0])} {n(corner[1])} {n(fx)} {n(fy)}"
    return path + f"L{n(points[-1][0])} {n(points[-1][1])}"


def toward(corner: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """The point on the way to ``other`` where a corner begins to be round."""
    away = math.dist(corner, other)
    part = min(0.5, TURN / away) if away else 0
    return corner[0] + (other[0] - corner[0]) * part, corner[1] + (other[1] - corner[1]) * part
