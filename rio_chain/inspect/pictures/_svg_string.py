"""Svg: a picture as text; and the picture of each kind of object."""

from __future__ import annotations

import re
from typing import Any, Self, TypeGuard

from rio_chain._core.notebook_repr import Renderable
from rio_chain.chain._plan import Plan
from rio_chain.inspect.pictures._build_picture import picture
from rio_chain.inspect.pictures._paint_svg import paint
from rio_chain.inspect.pictures._status_marks import marks
from rio_chain.results._outcome import Outcome

SCROLLBAR = (
    ".rio-chain-scroll::-webkit-scrollbar{height:10px}"
    ".rio-chain-scroll::-webkit-scrollbar-thumb{background:#7d8590;border-radius:5px}"
    ".rio-chain-scroll::-webkit-scrollbar-track{background:#7d859033;border-radius:5px}"
)
"""Some systems hide a scroll bar until the reader scrolls. A styled scroll bar is always shown. So readers see that the
picture goes on to the right."""


class Svg(str):
    """The text of an SVG document. Notebooks display the picture; ``print`` or ``str()`` gives the text."""

    __slots__ = ("_of",)
    _of: str

    def __new__(cls, text: str, of: str = "") -> Self:
        """``of``: the name of what the picture shows."""
        self = super().__new__(cls, text)
        self._of = of
        return self

    def _repr_svg_(self) -> str:
        return str(self)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        # HTML is part of the page and takes its colours; an image would not
        return {"text/html": scrolled(self), "text/plain": repr(self)}

    def __repr__(self) -> str:
        size = re.search(r'width="([\d.]+)" height="([\d.]+)"', self)
        wide, high = size.groups() if size else ("?", "?")
        return f"<Svg of {self._of}, {float(wide):.0f} x {float(high):.0f}>"


def scrolled(svg: str) -> str:
    """A picture as HTML that scrolls if the window is too narrow to read it."""
    size = re.search(r'width="([\d.]+)"', svg)
    least = 0.75 * float(size[1]) if size else 0
    inner = f'<div style="min-width:{least:.0f}px">{svg}</div>'
    return f'<style>{SCROLLBAR}</style><div class="rio-chain-scroll" style="overflow-x:auto">{inner}</div>'


def plan_of(drawn: Any) -> Plan:
    """The plan of a chain, a Request, an Outcome or a Plan."""
    if isinstance(drawn, Plan):
        return drawn
    plan = drawn.plan
    return plan if isinstance(plan, Plan) else plan()


def _is_run(drawn: Renderable) -> TypeGuard[Outcome[Any]]:
    return isinstance(drawn, Outcome)


def svg_of(drawn: Renderable) -> Svg:
    """The picture of an object."""
    plan = plan_of(drawn)
    if _is_run(drawn):
        shown = picture(plan, marks(drawn))
        return Svg(paint(shown), f"a run of {plan.title}")
    return Svg(paint(picture(plan)), plan.title)
