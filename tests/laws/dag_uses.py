"""What ``.using`` may mean: the plain model of it, and recipes in which tasks use what is upstream.

It looks from the task that uses upwards, where the library walks the chain from its beginning.
"""

from __future__ import annotations

from attrs import evolve
from hypothesis import strategies as st
from laws.dag_parts import POLICIES, Part, need_of


def admission(part: Part) -> Part:
    """Without the policies and the name around it."""
    while part.kind in POLICIES:
        part = part.inner[0]
    return part


def steps(part: Part) -> tuple[Part, ...]:
    """Those of a sequence, whatever the brackets in it."""
    if part.kind != "seq":
        return (part,)
    return tuple(step for one in part.inner for step in steps(one))


def form(part: Part) -> object:
    """What two parts are compared by."""
    if part.kind == "seq":
        return "seq", tuple(map(form, steps(part)))
    kind = "and" if is_all(part) else part.kind
    details: tuple[object, ...] = ()
    if kind == "each":
        details = part.n, part.ms % 3, part.mode
    elif kind == "need":
        details = (need_of(part),)
    elif kind in {"timeout", "named"}:  # each has a length or a name of its own
        details = (part.number,)
    elif kind in {"check", "retry", "replica"}:
        details = (part.n,)
    return kind, part.task, details, tuple(map(form, part.inner))


def is_all(part: Part) -> bool:
    """Whether all branches have to succeed, and a tuple is handed on."""
    return part.kind == "and" or (part.kind == "need" and need_of(part) == len(part.inner))


def windows(row: tuple[Part, ...], source: Part) -> list[int]:
    """The places in a row of steps at which a sequence of them ends that is the source."""
    wanted = tuple(map(form, steps(source)))
    if len(wanted) < 2:
        return []
    ends = range(len(wanted), len(row) + 1)
    return [row[end - 1].number for end in ends if tuple(map(form, row[end - len(wanted) : end])) == wanted]


def surely(part: Part, source: Part) -> list[int]:
    """The places of the source that have succeeded when the part has."""
    here, part, source = part.number, admission(part), admission(source)
    found: list[int] = [here] if form(part) == form(source) else []
    if part.kind in {"seq", "check"}:
        row = steps(part)
        if part.kind == "seq":
            found += [place for step in row for place in surely(step, source)]
            if len(row) > len(steps(source)):
                found += windows(row, source)
        else:
            found += surely(part.inner[0], source)
    elif part.kind == "keys" or is_all(part):
        found += [place for one in part.inner for place in surely(one, source)]
    return found


def known(part: Part, place: int, source: Part) -> list[int] | None:
    """The places of the source that have succeeded when the turn of the task at ``place`` comes; None: not in here."""
    part = admission(part)
    if part.number == place:
        return []
    row = steps(part)
    for i, step in enumerate(row if part.kind == "seq" else part.inner):
        inside = known(step, place, source)
        if inside is not None:
            before = Part("seq", row[:i])
            earlier = [p for one in row[:i] for p in surely(one, source)] if part.kind == "seq" else []
            return [*earlier, *(windows(before.inner, admission(source)) if part.kind == "seq" else []), *inside]
    return None


def with_use(root: Part, user: int, source: int) -> Part:
    """The same, where the task at one place uses the value of another."""
    place = next(part for part in root.walk() if part.number == source)

    def visit(part: Part) -> Part:
        return evolve(part, inner=tuple(map(visit, part.inner)), uses=(place,) if part.number == user else part.uses)

    return visit(root)


@st.composite
def using(draw: st.DrawFn, recipes: st.SearchStrategy[Part]) -> Part:
    """Recipes in which some tasks use values of parts that have surely succeeded before."""
    root = draw(recipes)
    chosen: dict[int, tuple[Part, ...]] = {}
    for task in root.tasks():
        able = [part for part in root.walk() if known(root, task.number, part) and part.number < task.number]
        if able:
            chosen[task.number] = tuple(draw(st.lists(st.sampled_from(able), max_size=2)))

    def visit(part: Part) -> Part:
        return evolve(part, inner=tuple(map(visit, part.inner)), uses=chosen.get(part.number, ()))

    return visit(root)
