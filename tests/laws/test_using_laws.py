"""``.using`` is refused, or gives the right value, as a model says that looks at it from the other end."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import event, given, note, settings
from hypothesis import strategies as st
from laws.dag_parts import Builder, Make, Part, numbered, parts
from laws.dag_runs import Run, sure, virtual
from laws.dag_uses import known, with_use
from laws.dag_values import ALWAYS, Async, said

from rio_chain import Chain, ChainDefinitionError, Task

FAILS = 0  # the task that does
KINDS = ("seq", "and", "keys", "settle", "or", "choose", "each", "retry", "replica", "need", "race")
recipes = st.lists(parts(KINDS), min_size=2, max_size=3).map(lambda row: numbered(Part("seq", tuple(row))))


@st.composite
def wired(draw: st.DrawFn) -> tuple[Part, Part, Part]:
    """A recipe in which tasks may occur several times; the task that uses; what it uses."""
    root = draw(recipes)
    same = {task.number: draw(st.integers(0, 4)) for task in root.tasks()}
    places = [task.number for task in root.tasks()]
    user = draw(st.sampled_from(places[len(places) // 2 :]))

    def visit(part: Part) -> Part:
        task = -1 if part.kind != "task" else 100 if part.number == user else same[part.number]
        ms, faults = (0, ALWAYS if task == FAILS else 0) if task >= 0 else (part.ms, 0)  # the same has one script
        return evolve(part, inner=tuple(map(visit, part.inner)), task=task, ms=ms, faults=faults)

    root = visit(root)
    other = Part("task", task=7, number=900)  # that is not in the chain
    others = [part for part in root.walk() if user not in {one.number for one in part.walk()}]
    upstream = [part for part in others if known(root, user, part)]
    source = draw(st.sampled_from(upstream if upstream and draw(st.booleans()) else [*others, other]))
    return root, next(part for part in root.tasks() if part.number == user), source


def shared_tasks() -> Make:
    """Tasks by their number: one of them may be in many places."""
    made: dict[int, Chain[..., Any]] = {}

    def make(part: Part) -> Chain[..., Any]:
        if part.task not in made:
            made[part.task] = Task(Async(part.task, part.ms, part.faults))
        return made[part.task]

    return make


@settings(deadline=None, max_examples=300)
@given(wired(), virtual)
def test_a_use_is_refused_or_gets_the_right_value(drawn: tuple[Part, Part, Part], run: Run) -> None:
    root, user, source = drawn
    make = shared_tasks()
    used = Builder(make).build(source)
    chain = Builder(lambda part: make(part).using(u0=used) if part.task == user.task else make(part)).build(root)
    places = known(root, user.number, source)
    note(f"{root}\nt100 at {user.number} uses {source.number}, known at {places}")
    assert places is not None
    if len(places) != 1:
        event("refused")
        with pytest.raises(ChainDefinitionError, match="`u0=`"):
            chain.plan()
        return
    event("bound")
    chain.plan()
    expected, memory = sure(with_use(root, user.number, places[0]))
    outcome, record = run(chain)
    got = [e.used for e in record.events if e.kind == "began" and e.task == user.task]
    assert said(outcome.result) == expected.result
    assert sorted(tuple(said(value) for _, value in one) for one in got) == sorted(memory.used.get(user.number, []))
