"""A piece of a plan on a worker of a cluster: the interpreter goes through its instructions. See ``_pieces``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rio_chain._core.lane_wrapper import enter_context_of
from rio_chain.chain._plan import Plan
from rio_chain.engine._ask import ask
from rio_chain.engine._current_run import CURRENT, INF, Run
from rio_chain.engine._event_sink import EventSink
from rio_chain.engine._frames import OuterExpired
from rio_chain.engine._interpreter import interpret
from rio_chain.engine._piece_program import program_of_pieces
from rio_chain.engine._remote_protocol import ASKED, Ending, PieceAnswer, PieceInput
from rio_chain.engine._run_events import ObservedPart, ObservedRecord, ObservedRun
from rio_chain.engine._runtime_protocol import Raised, Runtime
from rio_chain.errors import CallbackFailed
from rio_chain.results._events import Event
from rio_chain.results._observers import Observer
from rio_chain.results._outcome import Failed
from rio_chain.results._task_record import Log, TaskRecord, record_of


async def serve_piece(  # noqa: C901 - two kinds of pieces
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
    if given.number == ASKED:
        return await _answered(rt, plan, given, begins, loop_ends)
    program = program_of_pieces(plan, direct=rt.direct, places=rt.places, spread=given.spread)
    branch = program.pieces[given.number]
    began = rt.now()
    events: list[Event] = []
    run = _run_of(plan, given, branch.low, events)
    for index, calls in enumerate(given.calls, start=branch.low):
        if calls:
            _made_before(run.log, index, calls)
    strand = run.strand(rt, rt.slot(), INF if given.seconds_left == INF else began + given.seconds_left)
    strand.rounds, strand.replica = given.rounds, given.replica
    kept = strand.kept = [None] * program.kept
    for place, value in given.kept:
        kept[place] = value
    CURRENT.set(strand)
    enter_context_of(given.context)
    ending: Ending = "stopped"
    got: Any = None
    try:
        if begins(strand.slot.stop):
            got = await interpret(strand, program.ops, branch.start, branch.stop, given.value, began)
            ending, got = ("failed", got.error) if type(got) is Failed else ("value", got)
    except OuterExpired:
        pass
    except BaseException as error:
        if loop_ends(error):
            raise
        ending, got = "raised", Raised(error).error
    finally:
        strand.end()
        CURRENT.set(None)
    places = tuple((place, kept[place]) for place in branch.keeps) if ending == "value" else ()
    for index, calls in enumerate(given.calls, start=branch.low):
        if calls:
            record_of(run.log, index).calls -= calls
    log = [_plain(found) for found in run.log[branch.low : branch.high]]
    return PieceAnswer(ending, got, log, places, (began, rt.now()), tuple(events))


async def _answered(
    rt: Runtime,
    plan: Plan,
    given: PieceInput,
    begins: Callable[[Callable[[], None]], bool],
    loop_ends: Callable[[BaseException], bool],
) -> PieceAnswer:
    """Call the predicate or score of the client with a value that is here."""
    began = rt.now()
    role, fn, args, truth = given.value
    strand = Run(plan).strand(rt, rt.slot(), INF if given.seconds_left == INF else began + given.seconds_left)
    strand.slot.arm(strand.deadline)
    enter_context_of(given.context)
    ending: Ending = "stopped"
    got: Any = None
    try:
        if begins(strand.slot.stop):
            ending, got = "value", await ask(strand, role, fn, *args, truth=truth)
    except OuterExpired:
        pass
    except CallbackFailed as error:
        ending, got = "failed", error
    except BaseException as error:
        if loop_ends(error):
            raise
        ending, got = "raised", Raised(error).error
    finally:
        strand.end()
    return PieceAnswer(ending, got, times=(began, rt.now()))


def _made_before(log: Log, index: int, calls: int) -> None:
    """A task has made so many calls in earlier rounds, of which the client has the record."""
    record = record_of(log, index)
    record.calls, record.began = calls, INF


def _plain(found: Any) -> Any:
    if isinstance(found, ObservedRecord):
        found = found.plain()
    return None if isinstance(found, TaskRecord) and found.status is None and not found.calls else found


def _run_of(plan: Plan, given: PieceInput, low: int, events: list[Event]) -> Run:
    """The state of a run that has the same idempotency keys as that of the client. It reports if that does."""
    number, task, *path = given.way
    steps: list[object] = [number, *path, *([] if task == low else [low - int(task)])]
    run: Run | None = None
    for step in steps[:-1]:
        run = _within(Run(plan, run), step)
    if not given.observed:
        return _within(Run(plan, run), steps[-1])
    sink = EventSink(plan, None, observers=(Observer(events.append, errors=True, values=given.values),))
    sink.outer = False  # the request begins and ends in the client
    return _within(ObservedRun(ObservedPart(sink), run), steps[-1])


def _within(run: Run, step: object) -> Run:
    run.step = step
    return run
