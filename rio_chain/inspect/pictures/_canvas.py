"""The canvas, the base class of shapes, and the lines and badges that all shapes use.

Each shape has an *axis*: the height at which the line of the chain enters on the left and leaves on the right. A shape
that is a branch, or the whole chain, has *lanes* below it, for the lines to tasks that use its values.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import fsum
from typing import Literal

from rio_chain.inspect.pictures._badges import Badge
from rio_chain.inspect.pictures._picture import BadgeBox, Box, Edge
from rio_chain.inspect.pictures._text_width import width

NAME, SMALL = 13.0, 11.0  # sizes of the fonts
RING, MOST_RINGS = 4.0, 4
GAP = 26.0  # between two steps of a row
BETWEEN = 16.0  # between two branches
CURVE = 28.0
PAD = 12.0
PILL, PILL_PAD, PILL_GAP = 18.0, 8.0, 5.0
WIDEST_ROW = 250.0  # the width of a row of badges
MARK = 18.0  # the height of the line with the status of a task
LANE = 20.0
SAMPLE = 20.0  # the width of a sample ring in the legend
CHANNEL = 8.0
LEAD = 10.0  # the line to a choice


class Canvas:
    """The boxes and edges that have been drawn."""

    def __init__(self) -> None:
        self.boxes: list[Box] = []
        self.edges: list[Edge] = []


class Shape:
    """A part of a picture: its size, and its place once it is set."""

    tipless = False  # whether the line to it continues inside of it, without an arrow tip

    def __init__(self) -> None:
        self.parent: Shape | None = None
        self.x = self.y = self.width = self.height = self.axis = 0.0
        self.lanes: dict[Hashable, int] = {}

    @property
    def room(self) -> float:
        """Its height together with its lanes."""
        return self.height + LANE * len(self.lanes)

    @property
    def end(self) -> float:
        """The height at which the line of the chain leaves it."""
        return self.axis

    def lane(self, key: Hashable) -> float:
        """The height of one of its lanes."""
        return self.y + self.height + LANE * (self.lanes[key] + 0.8)

    def measure(self) -> None:
        """Compute its size."""

    def place(self, x: float, y: float, canvas: Canvas) -> None:  # noqa: ARG002 - subclasses draw their boxes on it
        """Set its place, and draw it."""
        self.x, self.y = x, y

    def tap(self) -> tuple[float, float]:
        """The point where its value leaves it, downwards, for a later task."""
        return self.x + self.width / 2, self.y + self.height


# --- lines ------------------------------------------------------------------------------------------------------


def n(value: float) -> str:
    """A number of pixels as short text."""
    return f"{value:.1f}".removesuffix(".0")


def straight(x: float, end: float, y: float, *, tip: bool = False) -> Edge:
    """A line to the right."""
    return Edge("flow", f"M{n(x)} {n(y)}H{n(end)}", rightward(end, y) if tip else None)


def rightward(x: float, y: float) -> tuple[float, float, Literal["right", "up"]]:
    """The tip of an arrow to the right."""
    return x, y, "right"


def bend(x: float, y: float, to: float) -> str:
    """A curve to the right that ends at another height."""
    middle = n(x + CURVE / 2)
    return f"C{middle} {n(y)} {middle} {n(to)} {n(x + CURVE)} {n(to)}"


# --- badges ------------------------------------------------------------------------------------------------------


def rings(layers: Sequence[Badge]) -> tuple[str, ...]:
    """The tones of the policies, the innermost first. Only the first few get a ring."""
    return tuple(layer.tone for layer in layers[:MOST_RINGS])


def badge_width(layer: Badge) -> float:
    """The width of a badge."""
    return width(layer.text, SMALL) + 2 * PILL_PAD


def row_width(row: Sequence[Badge]) -> float:
    """The width of a row of badges."""
    return fsum(map(badge_width, row)) + PILL_GAP * max(0, len(row) - 1)


def in_rows(layers: Sequence[Badge], most: float = WIDEST_ROW) -> list[list[Badge]]:
    """The badges in rows of limited width."""
    rows: list[list[Badge]] = []
    for layer in layers:
        if rows and row_width([*rows[-1], layer]) <= most:
            rows[-1].append(layer)
        else:
            rows.append([layer])
    return rows


def badge_boxes(row: Sequence[Badge], x: float, y: float) -> list[BadgeBox]:
    """A row of badges that begins at this point."""
    found: list[BadgeBox] = []
    for layer in row:
        wide = badge_width(layer)
        found.append(BadgeBox(x, y, wide, layer.text, layer.full, layer.tone))
        x += wide + PILL_GAP
    return found
