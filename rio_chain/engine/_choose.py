"""What the values of a run decide: which branch is taken, and which keyword values a task gets besides its input."""

from __future__ import annotations

from functools import partial
from typing import Any

from rio_chain.engine._ask import predicate_holds
from rio_chain.engine._current_run import Strand
from rio_chain.engine._frames import Fail
from rio_chain.engine._instructions import Args, ChooseOp, UseOp
from rio_chain.engine._remote_protocol import Held
from rio_chain.engine._runtime_protocol import kind_of
from rio_chain.errors import BridgeFailed, CallbackFailed
from rio_chain.results._task_record import close


def keyword_values(strand: Strand, op: UseOp, value: Any) -> Args:
    """The input of a task, together with the values that it uses."""
    used = {keyword: strand.kept[place] for keyword, place in op.used if place is not None}
    return Args(value.args, {**value.kwargs, **used}) if type(value) is Args else Args((value,), used)


async def chosen_branch(strand: Strand, op: ChooseOp, value: Any) -> int:
    """The index where the branch for this value begins. The tasks of the other branches are marked as not needed."""
    _, tests, starts, bounds, joint = op
    taken = len(tests)
    for i, test in enumerate(tests):
        if (
            _is_one(value, test)
            if isinstance(test, (type, tuple)) and type(value) is not Held
            else await predicate_holds(strand, "when", _as_predicate(test), value)
        ):
            taken = i
            break
    if taken == len(starts):
        raise Fail(
            BridgeFailed(
                joint.name,
                joint.before,
                joint.after,
                LookupError(f"no `when` matches {_described(value)}"),
            )
        )
    for i, (low, high) in enumerate(bounds):
        if i != taken:
            close(strand.run.log, low, high, None)
    return int(starts[taken])


def _described(value: Any) -> str:
    if isinstance(value, Held):
        return repr(value.shown)
    return f"a value of type {kind_of(value).__name__}"


def _as_predicate(test: Any) -> Any:
    return partial(_is_instance, test) if isinstance(test, (type, tuple)) else test


def _is_instance(classes: Any, value: object) -> bool:
    return isinstance(value, classes)


def _is_one(value: Any, classes: Any) -> bool:
    try:
        return isinstance(value, classes)
    except Exception as error:  # noqa: BLE001 - a class may define `__instancecheck__`, and that may raise
        raise CallbackFailed("when", getattr(classes, "__name__", str(classes)), error) from None
