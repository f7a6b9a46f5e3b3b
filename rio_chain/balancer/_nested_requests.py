"""A function that holds a slot of a balancer, and asks the same balancer to run something and waits for that."""

from __future__ import annotations

from rio_chain.balancer._admission import Admission
from rio_chain.engine._batch_work import ASKED_FOR, AskedFor
from rio_chain.engine._current_run import CURRENT, Run
from rio_chain.errors import UsageError

RIGHT = {
    "arun": "Write `await page(42)`, or return page(42), which run in the same slot",
    "run": "Return page(42), which runs in the same slot, or write `page(42).run()`",
    "amap": "Write `await each(page, limit=10)(inputs)`, or return that, which run in the same slot",
    "map": "Return `each(page, limit=10)(inputs)`, which runs in the same slot",
    "stream": "Write `page(42).stream()`, which needs no slot",
}
"""What to write in place of a call."""


def check_not_nested(admission: Admission, call: str) -> None:
    """Refuse it: when all slots are held by such functions, each waits for the others until its time runs out.

    Args:
        admission: of the balancer.
        call: what was called: one of ``RIGHT``.

    Raises:
        UsageError: the text has the right code.
    """
    strand = CURRENT.get()
    if strand is None or not strand.open:
        return
    if _holds_slot(strand.run, ASKED_FOR.get(), admission):
        task = strand.run.plan.tasks[strand.at].name
        raise UsageError(
            f"`{task}` holds a slot of this balancer, and `{call}` would wait for a second slot: a deadlock when all "
            f"slots are held. {RIGHT[call]}. `post` does not wait"
        )


def _holds_slot(run: Run | None, asked_for: AskedFor | None, admission: Admission) -> bool:
    """Whether this run, or one that waits for it, has a slot of the balancer.

    A call of a batch is not inside of the runs that wait for it: they are known by ``asked_for``.
    """
    while run is not None:
        if run in admission.runs:
            return True
        if asked_for is not None and run is asked_for.run:
            return any(_holds_slot(waits, asked_for.outer, admission) for waits in asked_for.waiting)
        run = run.around
    return False
