"""Pictures of random chains: nothing overlaps or is cut off, every task is there once, and looking never raises."""

from __future__ import annotations

import re
from itertools import combinations
from typing import Any
from xml.etree import ElementTree as ET

from hypothesis import event, given, note, settings
from hypothesis import strategies as st
from laws.dag_parts import Part, chain_of, parts
from laws.dag_runs import on_asyncio
from laws.dag_uses import using

from rio_chain import ChainDefinitionError, Task, choose, each, fan_out, when
from rio_chain.inspect.pictures._build_picture import picture
from rio_chain.inspect.pictures._canvas import PILL, SMALL
from rio_chain.inspect.pictures._picture import Box, Edge, Picture
from rio_chain.inspect.pictures._status_marks import marks
from rio_chain.inspect.pictures._text_width import width

FRAMES = ("frame", "items", "named")
SVG = "{http://www.w3.org/2000/svg}"
Area = tuple[float, float, float, float]
"""Left, upper, right and lower end."""


def area(box: Box) -> Area:
    return box.x, box.y, box.right, box.bottom


def apart(a: Area, b: Area) -> bool:
    return a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def within(a: Area, b: Area) -> bool:
    return b[0] <= a[0] and b[1] <= a[1] and a[2] <= b[2] and a[3] <= b[3]


def label_area(edge: Edge) -> Area:
    (x, y), wide = edge.at, width(edge.label, SMALL)
    x -= wide if edge.line == "use" else 0
    return x, y - SMALL, x + wide, y


def pill_areas(shown: Picture) -> list[Area]:
    return [(p.x, p.y, p.x + p.width, p.y + PILL) for box in shown.boxes for p in box.badges]


def strokes(edge: Edge) -> list[Area]:
    """The straight pieces of a line that only goes up, down, left and right; what is short of its ends."""
    found: list[Area] = []
    x = y = 0.0
    for word, numbers in re.findall(r"([MHV])([-\d. ]+)", edge.path):
        to = [float(number) for number in numbers.split()]
        nx, ny = {"M": lambda t: (t[0], t[1]), "H": lambda t: (t[0], y), "V": lambda t: (x, t[0])}[word](to)  # noqa: B023
        if word != "M":
            found.append((min(x, nx), min(y, ny), max(x, nx), max(y, ny)))
        x, y = nx, ny
    return found


def check(shown: Picture) -> None:
    whole = (0.0, 0.0, shown.width, shown.height)
    leaves = [box for box in shown.boxes if box.kind not in FRAMES]
    frames = [box for box in shown.boxes if box.kind in FRAMES]
    for box in shown.boxes:
        assert within(area(box), whole), box
    for a, b in combinations(leaves, 2):
        assert apart(area(a), area(b)), (a, b)
    for frame in frames:
        for box in shown.boxes:
            inside, outside = within(area(box), area(frame)), apart(area(box), area(frame))
            assert inside or outside or within(area(frame), area(box)), (frame, box)
    for box in shown.boxes:
        inner = [badge for badge in pill_areas(shown) if not apart(badge, area(box))]
        if box.kind not in FRAMES:
            assert all(within(badge, area(box)) for badge in inner), box
    labels = [label_area(edge) for edge in shown.edges if edge.label]
    for label in labels:
        assert within(label, whole), label
        assert all(apart(label, area(box)) for box in leaves), label
        assert all(apart(label, badge) for badge in pill_areas(shown)), label
    flow_labels = [label_area(edge) for edge in shown.edges if edge.label and edge.line != "use"]
    for edge in shown.edges:
        for stroke in strokes(edge) if edge.line == "use" else []:
            assert within(stroke, whole), edge
            assert all(apart(stroke, area(box)) for box in leaves), (edge, stroke)
            assert all(apart(stroke, badge) for badge in pill_areas(shown)), (edge, stroke)
            assert all(apart(stroke, label) for label in flow_labels), (edge, stroke)


recipes = using(parts())


@settings(deadline=None, max_examples=100)
@given(recipes)
def test_nothing_overlaps_and_every_task_is_there_once(root: Part) -> None:
    note(str(root))
    try:
        plan = chain_of(root).plan()
    except ChainDefinitionError:  # what is used is there twice
        event("refused")
        return
    event(f"{'with' if plan.uses else 'without'} uses")
    shown = picture(plan)
    check(shown)
    tasks = [box for box in shown.boxes if box.kind == "task"]
    assert sorted((box.task, box.name) for box in tasks) == [(task.index, task.name) for task in plan.tasks]
    assert sum(edge.line == "use" for edge in shown.edges) == sum(len(task.call.uses) for task in plan.tasks)
    assert picture(plan) == shown


@settings(deadline=None, max_examples=40)
@given(parts())
def test_a_run_is_drawn_whatever_became_of_it(root: Part) -> None:
    note(str(root))
    outcome, _ = on_asyncio(chain_of(root))
    for svg in (outcome.svg(), outcome.timeline()):
        tree = ET.fromstring(svg)  # noqa: S314 - our own
        ids = [found.attrib["id"] for found in tree.iter() if "id" in found.attrib]
        assert len(ids) == len(set(ids)) == 3
    tree = ET.fromstring(outcome.svg())  # noqa: S314
    assert [int(g.attrib["data-task"]) for g in tree.iter(f"{SVG}g") if "data-task" in g.attrib] == list(
        range(len(outcome))
    )
    assert set(outcome._repr_mimebundle_()) == {"text/plain", "text/html"}


@settings(deadline=None, max_examples=40)
@given(recipes)
def test_a_request_that_a_task_returned_is_drawn_behind_it(root: Part) -> None:
    note(str(root))
    try:
        inner = chain_of(root)
        inner.plan()
    except ChainDefinitionError:  # what is used is there twice
        event("refused")
        return

    def route(value: Any) -> Any:
        return inner(value)

    chain = Task(route).inline().timeout(10_000) & (Task(route).inline().named("again") >> Task(repr).inline())
    outcome, _ = on_asyncio(chain)
    shown = picture(outcome.plan, marks(outcome))
    check(shown)
    returned = [box for box in shown.boxes if box.kind == "named" and box.text.endswith("returned")]
    assert len(returned) >= 2
    tasks = [box for box in shown.boxes if box.kind == "task" and box.task is not None]
    assert sorted(box.name for box in tasks) == ["again", "repr", "route"]
    ET.fromstring(outcome.timeline())  # noqa: S314 - our own


# --- hostile ----------------------------------------------------------------------------------------------------

NASTY = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "]]></style><svg onload=alert(1)>",
    "\u202eright to left\u202c",
    "&amp;&#0;",
    "\x00\x1b[31m\r\n\t",
    "\U0001f600" * 50,
    "x" * 10_000,
    "url(javascript:alert(1))",
]
names = st.one_of(st.sampled_from(NASTY), st.text(min_size=1, max_size=60).filter(str.strip))


class Hostile:
    """Says nothing about itself."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


class HostileError(Exception):
    """An error that can't be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


def fail(_: Any) -> Any:
    raise HostileError


def odd_test(_: Any) -> bool:
    return False


@settings(deadline=None, max_examples=25)
@given(st.lists(names, min_size=4, max_size=4, unique=True), names)
def test_hostile_names_and_values_are_inert_and_never_raise(texts: list[str], key: str) -> None:
    odd_test.__name__ = texts[3]
    a, b, c = (Task(lambda x: x).named(f"{i}{text}").inline() for i, text in enumerate(texts[:3]))
    task = a.timeout(5).retry(1) >> fan_out(**{key: b.or_else(Hostile())}) >> each(c, limit=2)
    other = Task(fail).inline()
    chain = task | choose(when(odd_test, other), otherwise=other).named(f"4{texts[3]}")
    check(picture(chain.plan()))
    outcome, _ = on_asyncio(chain)
    for thing in (chain, chain.plan(), chain(1), outcome, Task(fail)):
        found = thing._repr_mimebundle_()
        assert set(found) == {"text/plain", "text/html"}
        assert found["text/plain"].isascii()
        assert not re.search(r"<(script|img|iframe|a )|<[^>]*\bon\w+=", found["text/html"])
    for svg in (chain.svg(), outcome.svg(), outcome.timeline()):
        assert all(c.isprintable() or c == "\n" for c in svg)
        assert svg.isascii()
        assert len(svg) < 200_000
        tree = ET.fromstring(svg)  # noqa: S314
        assert {found.tag.removeprefix(SVG) for found in tree.iter()} <= {
            "svg", "title", "desc", "style", "g", "rect", "path", "circle", "text",
        }  # fmt: skip
        assert not [key for found in tree.iter() for key in found.attrib if key.startswith("on") or "href" in key]
