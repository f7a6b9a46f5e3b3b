"""A picture as plain data: boxes and edges with their places, without colours and styles.

Places are pixels from the upper left corner. Texts are cut to fit; ``full`` is the complete text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import field, frozen

from rio_chain.chain._plan import Plan

Kind = Literal["task", "bridge", "constant", "fold", "join", "fork", "choice", "frame", "items", "named", "end"]
Line = Literal["flow", "else", "use"]
State = Literal["succeeded", "failed", "timed_out", "abandoned", "skipped", "cancelled", "running", "waiting"]


@frozen
class BadgeBox:
    """The badge of a policy, with its place."""

    x: float
    y: float
    width: float
    text: str
    full: str
    tone: str


@frozen
class Mark:
    """The result of a task in a run: its status, and a few words."""

    state: State
    text: str
    full: str = ""


@frozen
class Marks:
    """The results of a run, by index in the plan: tasks, bridges, and joints (``each``, ``expand``, ``choose``).

    ``head``: the result of the run, if it has ended. ``fallbacks``: numbers of each ``or_else`` that used its fallback.
    """

    tasks: Mapping[int, Mark] = field(factory=dict[int, Mark])
    bridges: Mapping[int, Mark] = field(factory=dict[int, Mark])
    joints: Mapping[int, Mark] = field(factory=dict[int, Mark])
    head: Mark | None = None
    fallbacks: frozenset[int] = frozenset()
    nested: Mapping[int, tuple[Plan, Marks]] = field(factory=dict[int, "tuple[Plan, Marks]"])
    """For tasks that returned a Request: its plan and its marks."""


@frozen
class Box:
    """A shape with a place. ``rings``: the tones of the policies around it, the innermost first."""

    kind: Kind
    x: float
    y: float
    width: float
    height: float
    text: str = ""
    full: str = ""
    badges: tuple[BadgeBox, ...] = ()
    rings: tuple[str, ...] = ()
    task: int | None = None  # its index in the plan
    name: str = ""  # the name of a task, as in the Outcome
    mark: Mark | None = None

    @property
    def right(self) -> float:
        """The x of its right side."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """The y of its lower side."""
        return self.y + self.height


@frozen
class Edge:
    """A line between boxes. ``path`` is in SVG syntax; ``tip`` is the point and direction of an arrow."""

    line: Line
    path: str
    tip: tuple[float, float, Literal["right", "up"]] | None = None
    label: str = ""
    full: str = ""
    at: tuple[float, float] = (0, 0)  # of the label: its lower left corner, or the right one for a "use"


@frozen
class LegendEntry:
    """The meaning of one tone of rings."""

    x: float
    y: float
    tone: str
    text: str


@frozen
class Picture:
    """All boxes and edges. Frames come before what is in them."""

    width: float
    height: float
    title: str
    about: str
    boxes: tuple[Box, ...] = field(repr=False)
    edges: tuple[Edge, ...] = field(repr=False)
    head: Mark | None = None  # the result of the run
    legend: tuple[LegendEntry, ...] = field(default=(), repr=False)
