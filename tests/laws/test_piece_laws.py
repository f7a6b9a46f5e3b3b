"""What holds for every plan that is cut into pieces, and that its pieces do together what the whole does."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given, note, settings
from laws.dag_parts import Part, chain_of, parts
from laws.dag_runs import INPUT, Ran, on_asyncio, played_by, ran, sure
from laws.dag_uses import using
from laws.dag_values import RECORD, Record, said
from laws.loopback import cut_here
from virtual_loops import on_asyncio as looped

from rio_chain.chain._nodes import (
    Bridge,
    Each,
    Expand,
    FanOutNode,
    Node,
    Piece,
    RaceNode,
    Scope,
    Seq,
    TaskNode,
    flat,
    walk,
)
from rio_chain.chain._nodes import parts as inside
from rio_chain.chain._pieces import cut, pieces, stays
from rio_chain.engine._piece_program import program_of_pieces
from rio_chain.engine._program import program_of

JOINS = (FanOutNode, RaceNode, Each, Expand)


def reached(node: Node) -> list[Node]:
    """The nodes of the client: those in no piece."""
    found, todo = list[Node](), [node]
    while todo:
        one = todo.pop()
        found.append(one)
        todo += [] if isinstance(one, Piece) else inside(one)
    return found


@settings(deadline=None, max_examples=200)
@given(using(parts()))
def test_a_cut_plan_is_the_same_plan_in_linear_pieces(part: Part) -> None:
    plan = chain_of(part).plan()
    made = cut(plan)
    assert flat(made.root) == flat(plan.root)
    assert [task.name for task in made.tasks] == [task.name for task in plan.tasks]
    for piece in pieces(made):
        assert not any(isinstance(node, (*JOINS, Piece)) for node in walk(piece.inner))
        assert not any(isinstance(node, Scope) and stays(node.policy) for node in walk(piece.inner))


@settings(deadline=None, max_examples=200)
@given(using(parts()))
def test_no_task_runs_in_the_client_and_no_piece_could_be_longer(part: Part) -> None:
    client = reached(cut(chain_of(part).plan()).root)
    assert not any(isinstance(node, (TaskNode, Bridge)) for node in client)
    for node in client:
        if isinstance(node, Seq):
            assert not any(isinstance(a, Piece) and isinstance(b, Piece) for a, b in pairwise(node.steps))
        elif not isinstance(node, (*JOINS, Piece)):
            stays_here = isinstance(node, Scope) and stays(node.policy)
            assert stays_here or not all(isinstance(one, Piece) for one in inside(node))


@settings(deadline=None, max_examples=200)
@given(using(parts()))
def test_client_and_worker_number_the_pieces_and_their_tasks_alike(part: Part) -> None:
    made = cut(chain_of(part).plan())
    client = program_of(made, direct=True, places=True)
    worker = program_of_pieces(made, direct=True, places=True, spread=False)
    ours = [(op.number, op.low, op.high, op.keeps) for op in client.ops if hasattr(op, "needs")]
    theirs = [(i, branch.low, branch.high, branch.keeps) for i, branch in enumerate(worker.pieces)]
    assert sorted(ours) == theirs
    assert len(theirs) == sum(1 for _ in pieces(made))


@pytest.mark.parametrize("holds", [False, True])
@settings(deadline=None, max_examples=200)
@given(part=using(parts()))
def test_the_pieces_do_together_what_the_whole_does(holds: bool, part: Part) -> None:
    """Everything but the time that messages take is the same: Results, statuses, attempts, times, what tasks use.

    Also where each value stays on a worker that may, so that predicates and scores are called there.
    """
    note(repr(part))
    sure(part)  # else two runs of the same chain may differ
    whole, record = on_asyncio(chain_of(part))

    async def main() -> tuple[Ran, int]:
        with cut_here(holds=holds) as remote:
            got = await ran(chain_of(part))
        assert all(task.done() for task in remote.tasks)
        return got, remote.sent

    (outcome, ours), sent = looped(main)
    got, expected = played_by(outcome), played_by(whole)
    assert (got.result, got.tasks) == (expected.result, expected.tasks)
    assert abs(got.ms - expected.ms) < 1e-4
    assert ours.running == 0
    assert used(ours, part) == used(record, part)
    assert sent > 0


def used(record: Record, part: Part) -> dict[int, list[tuple[str, ...]]]:
    """What each task got by ``.using``."""
    began = [event for event in record.events if event.kind == "began"]
    return {
        task.task: sorted(tuple(said(value) for _, value in e.used) for e in began if e.task == task.task)
        for task in part.tasks()
    }


@settings(deadline=None, max_examples=100)
@given(using(parts(("seq", "check", "and", "keys", "settle", "or", "choose", "retry", "timeout", "each"))))
def test_an_observed_run_has_the_same_events(part: Part) -> None:
    """They come later, and say the same of the same instants."""
    note(repr(part))
    sure(part)

    async def events(*, in_pieces: bool) -> list[tuple[object, ...]]:
        RECORD.set(Record())
        with cut_here() if in_pieces else nullcontext():
            told = [event async for event in chain_of(part)(INPUT).stream() if event.task is not None]
        return sorted((round(e.at, 4), e.kind, str(e.task), e.attempt, str(e.item), str(e.status)) for e in told)

    whole = looped(partial(events, in_pieces=False))
    assert looped(partial(events, in_pieces=True)) == whole
