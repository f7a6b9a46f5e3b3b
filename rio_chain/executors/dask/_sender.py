"""The half of the client: sends pieces to the cluster, and sees to it that each gets an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from attrs import define, field

from rio_chain._core.pickling import loads
from rio_chain._core.unhandled_errors import surely
from rio_chain.chain._resources import resources_source
from rio_chain.chain._supports import support
from rio_chain.engine._remote_protocol import Held, PieceAnswer, PieceCall
from rio_chain.errors import ChainDefinitionError, RioError, WorkerLost
from rio_chain.executors.dask._messages import answer_of, inputs_bytes, refusal_of
from rio_chain.executors.dask._plans import CutPlans, resources_of, sent_plan, waiting_pieces
from rio_chain.executors.dask._service import SentBatch, call_id

if TYPE_CHECKING:
    from rio_chain.chain._plan import Plan
    from rio_chain.engine._runtime_protocol import Runtime, Timer
    from rio_chain.executors.dask._cluster import Cluster
    from rio_chain.executors.dask._host import DaskHost

GRACE = 1.0
"""Seconds that a stopped piece has to say what it did until then."""


@define(eq=False)
class Batch:
    """Calls that went to the cluster as one."""

    key: str
    future: Any
    """For the answers."""
    keeper: Any
    """What keeps the value, where that stays on a worker; else the same."""
    calls: dict[str, PieceCall]
    runs: set[str] = field(factory=set[str])
    """Those that workers have begun, as far as that is known."""


class Sender:
    """``Remote`` over a cluster. All but ``check`` is called on the loop of the host."""

    most = 0
    """Bytes of a message."""

    def __init__(self, host: DaskHost) -> None:
        self._host = host
        self.cluster: Cluster | None = None
        self._plans = CutPlans()
        self._batches: dict[str, Batch] = {}
        self._ids: dict[int, tuple[str, Batch]] = {}  # of the calls that are under way
        self._stopping: list[str] = []

    def check(self, plan: Plan) -> None:
        """As ``Remote.check``."""
        if plan.programs.get("checked for dask"):
            return
        refused = support(plan, "dask").refused
        if refused:
            reasons = "; ".join(f"{part.name}: {part.why}" for part in refused)
            raise ChainDefinitionError(f"this chain can't run on Dask: {reasons}")
        sent_plan(plan)
        plan.programs["checked for dask"] = True

    # --- sending ----------------------------------------------------------------------------------------------------

    @property
    def slots(self) -> int:
        """As ``Remote.slots``."""
        return 1 if self.cluster is None else self.cluster.slots()

    def send(self, calls: Sequence[PieceCall], *, until_failure: bool = False) -> None:
        """As ``Remote.send``."""
        cluster = self.cluster
        if cluster is None or not cluster.connected:
            for call in calls:
                self._answered(call, _lost(call, "the Dask scheduler is lost; open the balancer anew"))
            return
        try:
            found = self._batch(calls, until_failure=until_failure)
        except RioError as error:
            for call in calls:
                self._answered(call, PieceAnswer("failed", error))
            return
        if found is None:
            return
        sent, batch, held = found
        key = cluster.next_key()
        ids = {call_id(key, number): call for number, call in enumerate(sent)}
        priority, needs = sent[0].priority, resources_of(self._plans.plan(sent[0].plan))[sent[0].given.number]
        future = keeper = cluster.submit(key, batch, held, {"priority": priority, "resources": needs or None})
        if sent[0].given.holds:
            future = cluster.small_part(key, keeper, priority)
        made = self._batches[key] = Batch(key, future, keeper, ids)
        for one, call in ids.items():
            self._ids[id(call)] = one, made
        self._host.spawn(partial(self._watch, made, cluster, needs), Context())

    def _batch(
        self, calls: Sequence[PieceCall], *, until_failure: bool
    ) -> tuple[Sequence[PieceCall], SentBatch, Sequence[Any]] | None:
        """The calls that can be sent, what to send, and what keeps values in it on workers; None: there are none.

        The others get their answers.

        Raises:
            NotPicklable: the plan can't be sent.
        """
        plan, keepers = calls[0].plan, dict[int, Any]()
        try:
            data = inputs_bytes([call.given for call in calls], self.most, keepers)
        except Exception:  # noqa: BLE001 - a user's own way of pickling may raise anything
            refused = {call: refusal_of(call.given, call.name, self.most) for call in calls}
            for call, error in refused.items():
                if error is not None:
                    self._answered(call, PieceAnswer("failed", error))
            calls = [call for call, error in refused.items() if error is None]
            if not calls:
                return None
            keepers.clear()
            data = inputs_bytes([call.given for call in calls], len(calls) * self.most, keepers)
        waits = waiting_pieces(self._plans.plan(plan))[calls[0].given.number]
        return (
            calls,
            SentBatch(sent_plan(plan), tuple(call.name for call in calls), data, waits, until_failure),
            list(keepers.values()),
        )

    async def _watch(self, batch: Batch, cluster: Cluster, needs: dict[str, float]) -> None:
        """Wait for the answers of a batch. Dask would wait for a worker with these resources for ever."""
        try:
            if needs and await cluster.missing(needs):
                answers = (
                    f"no worker has {resources_source(tuple(needs.items()))}; start one with `dask worker --resources`"
                )
                await _cancelled(batch.keeper)
            else:
                answers = await batch.future
            if isinstance(answers, str):
                reason = answers
            elif isinstance(answers, list):
                (call,) = batch.calls.values()
                ((run, data),) = cast("list[tuple[str, bytes]]", answers)
                self.began(batch.key, run)
                answer, reason = _answer(call, data), ""
                if answer.ending == "value":
                    answer.value = Held(batch.keeper, answer.value)
                self._answered(call, answer)
            else:
                reason = ""
                run, found = cast("tuple[str, list[bytes]]", loads(answers))
                self.began(batch.key, run)
                calls = iter(batch.calls.values())
                for data, call in zip(found, calls, strict=False):  # in this order: it takes no call too many
                    self._answered(call, _answer(call, data))
                if found:  # one has failed, and those after it were not to be run
                    for call in calls:
                        self._answered(call, PieceAnswer("stopped"))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the calls get an answer
            reason = self._host.reason_of_loss(error)
            del error
        for call in batch.calls.values():
            self._answered(call, _lost(call, reason or "its worker was closed"))
        self._forget(batch)

    def _forget(self, batch: Batch) -> None:
        self._batches.pop(batch.key, None)
        if batch.keeper is not batch.future:
            surely(batch.future.release)
        batch.future = batch.keeper = None  # a Held may keep it

    def _answered(self, call: PieceCall, answer: PieceAnswer) -> None:
        if call.answer is None:
            call.answer = answer
            self._ids.pop(id(call), None)
            surely(call.wake)

    def began(self, key: str, run: str) -> None:
        """A worker has begun a batch."""
        batch = self._batches.get(key)
        if batch is not None:
            batch.runs.add(run)
            for call in batch.calls.values():
                call.begun = len(batch.runs)

    # --- stopping ---------------------------------------------------------------------------------------------------

    def cancel(self, call: PieceCall) -> None:
        """As ``Remote.cancel``."""
        call.cancelled = True
        known = self._ids.get(id(call))
        if known is None:
            return
        one, _ = known
        rt = cast("Runtime", self._host.runtime)
        _Grace(rt, partial(self._give_up, call)).arm(rt.now() + GRACE)
        self._stopping.append(one)
        if len(self._stopping) == 1:
            self._host.spawn(self._stop, Context())

    def _give_up(self, call: PieceCall) -> None:
        """Wait no longer for a call that was stopped. If all of its batch are, Dask may forget that."""
        known = self._ids.get(id(call))
        self._answered(call, PieceAnswer("stopped"))
        if known is not None:
            _, batch = known
            if batch.future is not None and all(one.answer is not None for one in batch.calls.values()):
                surely(partial(self._host.spawn, partial(_cancelled, batch.keeper), Context()))

    async def _stop(self) -> None:
        """Tell the workers, all that was asked for in one message. What runs nowhere has not begun, and never will."""
        ids, self._stopping = self._stopping, []
        cluster = self.cluster
        try:
            ran = await cluster.stop(ids) if cluster is not None and cluster.connected else set[str]()
        except Exception:  # noqa: BLE001 - the scheduler is lost, and the grace ends the calls
            return
        for one, batch in list(self._ids.values()):
            if one in ids and one not in ran:
                self._give_up(batch.calls[one])


class _Grace:
    """Calls something at an instant."""

    def __init__(self, rt: Runtime, call: Callable[[], None]) -> None:
        self._rt = rt
        self._call = call
        self._timer: Timer | None = None

    def arm(self, at: float) -> None:
        """Once, on the loop."""
        self._timer = self._rt.timer(self, at)

    def fire(self) -> None:
        """As ``Fires.fire``."""
        timer, self._timer = self._timer, None
        if timer is not None:
            self._rt.free_timer(timer)
        surely(self._call)


async def _cancelled(future: Any) -> None:
    with suppress(Exception):  # the scheduler is lost, and what it had with it
        await future.cancel()


def _answer(call: PieceCall, data: bytes) -> PieceAnswer:
    try:
        return answer_of(data)
    except Exception as error:  # noqa: BLE001 - a user's own way of unpickling may raise anything
        return _lost(call, f"its answer can't be unpickled here: {type(error).__name__}: {error}")


def _lost(call: PieceCall, reason: str) -> PieceAnswer:
    return PieceAnswer("lost", WorkerLost(call.name, reason))
