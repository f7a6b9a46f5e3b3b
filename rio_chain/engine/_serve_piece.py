"""A piece of a plan on a worker of a cluster: the interpreter goes through its instructions. See ``_pieces``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rio_chain.chain._plan import Plan
from rio_chain.engine._current_run import CURRENT, INF, Run
from rio_chain.engine._frames import OuterExpired
from rio_chain.engine._interpreter import interpret
from rio_chain.engine._program import program_of_pieces
from rio_chain.engine._remote_protocol import Ending, PieceAnswer, PieceInput
from rio_chain.engine._runtime_protocol import Raised, Runtime
from rio_chain.results._outcome import Failed


async def serve_piece(
    rt: Runtime,
    plan: Plan,
    given: PieceInput,
    *,
    begins: Callable[[Callable[[], None]], bool],
    loop_ends: Callable[[BaseException], bool],
) -> PieceAnswer:
    """Run the piece in the strand that calls. No error leaves it but that of a loop that ends.

    Args:
        rt: the runtime of the strand.
        plan: as it was cut.
        given: what the client has sent.
        begins: gets what stops the piece, from any thread; whether it may begin.
        loop_ends: whether the strand got this error because its loop is ending.
    """
    program = program_of_pieces(plan, direct=rt.direct, places=rt.places, spread=given.spread)
    branch = program.pieces[given.number]
    began = rt.now()
    run = _run_of(plan, given, branch.low)
    strand = run.strand(rt, rt.slot(), INF if given.seconds_left == INF else began + given.seconds_left)
    strand.rounds, strand.replica = given.rounds, given.replica
    kept = strand.kept = [None] * program.kept
    for place, value in given.kept:
        kept[place] = value
    CURRENT.set(strand)
    ending: Ending = "stopped"
    value: Any = None
    try:
        if begins(strand.slot.stop):
            got = await interpret(strand, program.ops, branch.start, branch.stop, given.value, began)
            ending, value = ("failed", got.error) if type(got) is Failed else ("value", got)
    except OuterExpired:
        pass
    except BaseException as error:
        if loop_ends(error):
            raise
        ending, value = "raised", Raised(error).error
    finally:
        strand.end()
        CURRENT.set(None)
    places = tuple((place, kept[place]) for place in branch.keeps) if ending == "value" else ()
    return PieceAnswer(ending, value, run.log[branch.low : branch.high], places, (began, rt.now()))


def _run_of(plan: Plan, given: PieceInput, low: int) -> Run:
    """The state of a run that has the same idempotency keys as that of the client."""
    number, task, *path = given.way
    run = Run(plan)
    run.step = number
    for step in path:
        run = _within(run, step)
    return run if task == low else _within(run, low - int(task))


def _within(around: Run, step: object) -> Run:
    run = Run(around.plan, around)
    run.step = step
    return run
