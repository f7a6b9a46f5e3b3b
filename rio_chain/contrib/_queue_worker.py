"""A worker of a durable queue: takes jobs from procrastinate, runs their chains in a balancer, and writes how they end.

procrastinate's worker runs on an event loop of its own, so a chain that blocks its loop stops no heartbeat.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from attrs import define, field
from procrastinate import App, JobContext, PsycopgConnector
from procrastinate.job_context import AbortReason
from procrastinate.worker import Worker

from rio_chain._journal_errors import ArgumentsChanged, JournalError, NotStorable, PlanChanged
from rio_chain.balancer import Balancer, Ticket
from rio_chain.contrib._queue_json import arguments_of, failure_text, success_text
from rio_chain.contrib._queue_store import TASK, Begun, QueueStore
from rio_chain.dsl._chain import Chain
from rio_chain.dsl._task import Task
from rio_chain.errors import BalancerClosed, ChainDefinitionError, Saturated
from rio_chain.executors import runtime_here

if TYPE_CHECKING:
    from rio_chain.chain._request import Request
    from rio_chain.journal import Journal

log = logging.getLogger("rio_chain.queue")
FOREVER = 1e12
SWEEPS = 2.0
"""Seconds between two sweeps of a worker, at most."""
HEARTBEAT = 5.0
"""Seconds between two signs of life, at most. Other workers of procrastinate take 30 s of silence for death."""
PRUNE = 3_600.0
"""Seconds of silence after which procrastinate deletes the row of a worker, at least. A worker that lives needs it."""
FULL = 15
"""Each so many sweeps also look for runs that wait without a job."""
STOPS = 0.2
"""Seconds between two attempts to stop."""
PAUSE = 1.0
"""Seconds before the next attempt to reach a database that does not answer."""
LATER = 5.0
"""Seconds after which a run is delivered again that this worker can't run."""
OWN_FAULT = (NotStorable, ArgumentsChanged, PlanChanged)
"""Errors of the journal that the run would meet on any worker."""


@define(eq=False)
class Running:
    """A run of this worker."""

    begun: Begun
    ticket: Ticket[Any]


@define(eq=False)
class QueueWorker:
    """One worker process of a queue.

    Attributes:
        store: the tables.
        chains: what can be run, by name.
        workers: how many runs at once.
        balancer: runs them.
        grace: seconds that runs have when the worker stops.
        tick: posts the ticks of schedules, and returns the seconds until it should be called again.
        journal: records the runs, so that one that is taken over goes on where it was.
    """

    store: QueueStore
    chains: Mapping[str, Chain[..., Any]]
    workers: int
    balancer: Balancer
    grace: float
    tick: Callable[[], float]
    journal: Journal | None = None
    _running: dict[str, Running] = field(factory=dict[str, Running], init=False)
    _stop: threading.Event = field(factory=threading.Event, init=False)
    _served: threading.Event = field(factory=threading.Event, init=False)
    _worker: Worker | None = field(default=None, init=False)

    # --- on the loop of procrastinate ---------------------------------------------------------------------------

    async def serve(self) -> None:
        """Take jobs until ``stop``. An error of the database is logged, and the worker begins again."""
        try:
            while not self._stop.is_set():
                try:
                    await self._serve_once()
                except Exception as error:  # noqa: BLE001 - whatever it was, the next attempt may be luckier
                    if not self._stop.is_set():
                        log.warning("the worker begins again in %g s: %s: %s", PAUSE, type(error).__name__, error)
                        await runtime_here().sleep(PAUSE)
        finally:
            self._served.set()

    async def _serve_once(self) -> None:
        lease = self.store.lease
        connector = PsycopgConnector(conninfo=self.store.dsn, min_size=1, max_size=4, timeout=min(10.0, lease))
        app = App(connector=connector)
        app.task(name=TASK, queue=self.store.queue, pass_context=True)(self._job)
        async with app.open_async():
            self._worker = Worker(
                app=app,
                queues=[self.store.queue],
                concurrency=self.workers,
                install_signal_handlers=False,
                update_heartbeat_interval=min(lease / 4, HEARTBEAT),
                stalled_worker_timeout=max(PRUNE, 10 * lease),
                fetch_job_polling_interval=min(5.0, lease),
                abort_job_polling_interval=1.0,
                shutdown_graceful_timeout=self.grace,
                delete_jobs="successful",
            )
            try:
                await self._worker.run()  # type: ignore[no-untyped-call]
            finally:
                self._worker = None

    async def _job(self, context: JobContext, run_id: str) -> None:
        job_id = context.job.id
        begun = (await Task(self.store.begin)(run_id, job_id or 0)).unwrap()
        if begun is None:
            return
        ticket: Ticket[Any] | None = None
        try:
            ticket, ended = self._post(begun)
            if ticket is None:
                await self._write(begun, ended)
                return
            self._running[run_id] = Running(begun, ticket)
            await self._finish(begun, ticket)
        except BaseException:
            if ticket is None:
                raise
            stops = context.abort_reason() == AbortReason.SHUTDOWN
            if stops:
                ticket.cancel("the worker stops")
            else:
                ticket.cancel((await Task(self.store.cancel_reason)(begun)).value_or("it was cancelled"))
            await self._finish(begun, ticket, stops=stops)
        finally:
            self._running.pop(run_id, None)

    def _post(self, begun: Begun) -> tuple[Ticket[Any] | None, tuple[str, str] | None]:
        """Start a run. Without a ticket: how it has ended, or None if another worker should try."""
        chain = self.chains.get(begun.chain)
        if chain is None:
            log.error("run %s needs the chain %r, which is not registered here", begun.run_id, begun.chain)
            return None, None
        args, kwargs = arguments_of(begun.arguments)
        try:
            return self._run(chain(*args, **kwargs), begun), None
        except ChainDefinitionError as error:  # the chain takes other arguments since it was posted
            return None, failure_text(error)
        except (Saturated, BalancerClosed) as error:
            log.warning("run %s is put back: %s", begun.run_id, error)
            return None, None

    def _run(self, request: Request[Any], begun: Begun) -> Ticket[Any]:
        """Run a request. The journal knows the run by its id."""
        if self.journal is None:
            return self.balancer.post(request)
        return self.balancer.post(request, journal=self.journal, run_id=begun.run_id)

    async def _finish(self, begun: Begun, ticket: Ticket[Any], *, stops: bool = False) -> None:
        """Wait for the end of a run and write it, or put the run back. ``stops``: the worker does."""
        try:
            outcome = await ticket
            error = outcome.error
        except JournalError as unbegun:  # it may not go on here
            outcome, error = None, unbegun
        if outcome is not None and outcome.ok:
            await self._write(begun, success_text(outcome.unwrap(), begun.chain))
        elif isinstance(error, JournalError) and not isinstance(error, OWN_FAULT):
            log.warning("run %s is put back: %s", begun.run_id, error)
            await self._write(begun, None, min(LATER, self.store.lease / 4))
        elif stops:
            await self._write(begun, None, delay=0.0)
        else:
            await self._write(begun, failure_text(error))

    async def _write(self, begun: Begun, ended: tuple[str, str] | None, delay: float = LATER) -> None:
        """Write how a run has ended, or put it back. While the database does not answer, again and again."""
        while True:
            wrote = await Task(self._wrote)(begun, ended, delay)
            if wrote.ok:
                return
            log.warning("the end of run %s is not written yet: %s", begun.run_id, wrote.error)
            await runtime_here().sleep(PAUSE)

    def _wrote(self, begun: Begun, ended: tuple[str, str] | None, delay: float) -> None:
        if ended is None:
            self.store.put_back(begun, delay)
        elif not self.store.end(begun, *ended):
            log.warning("the lease of run %s was lost, so its end is not written", begun.run_id)

    @property
    def stopped(self) -> bool:
        """Whether it takes no more jobs."""
        return self._stop.is_set()

    # --- beside it, on threads ----------------------------------------------------------------------------------

    def stop(self) -> None:
        """Take no more jobs, and let the running ones end. From any thread."""
        self._stop.set()
        self._stop_serving()

    def _stop_serving(self) -> None:
        worker = self._worker
        if worker is not None:
            worker.stop()  # type: ignore[no-untyped-call]

    def sweeping(self) -> None:
        """Give signs of life, put back what dead workers have left, and end the runs here whose lease was lost.

        procrastinate gives no sign of life while its worker stops, or begins again after an error of the database.
        """
        pause, count, judges = min(self.store.lease / 4, SWEEPS), 0, 0.0
        while not self._stop.wait(pause * random.uniform(0.75, 1.25)):  # noqa: S311 - spreads the load, no secret
            count += 1
            try:
                self._give_sign()
                self._end_lost()
                if time.monotonic() < judges:
                    continue
                swept = self.store.sweep(full=count % FULL == 0)
            except Exception as error:  # noqa: BLE001 - whatever it was, the next sweep may be luckier
                log.warning("a sweep has failed: %s: %s", type(error).__name__, error)
                judges = time.monotonic() + self.store.lease  # perhaps no worker could give a sign of life
                continue
            if swept.put_back or swept.dead:
                log.warning("%d runs of dead workers are put back, %d are dead letters", swept.put_back, swept.dead)
        signs = 0.0
        while not self._served.wait(STOPS):  # a worker of procrastinate that has just begun forgets that it was stopped
            self._stop_serving()
            if time.monotonic() >= signs:
                signs = time.monotonic() + pause
                self._give_sign_if_possible()

    def _give_sign(self) -> None:
        worker_id = getattr(self._worker, "worker_id", None)
        if worker_id is not None:
            self.store.give_sign(worker_id)

    def _give_sign_if_possible(self) -> None:
        try:
            self._give_sign()
        except Exception as error:  # noqa: BLE001 - whatever it was, the next one may be luckier
            log.warning("no sign of life: %s: %s", type(error).__name__, error)

    def _end_lost(self) -> None:
        running = self._running.copy()
        if running:
            for run_id in self.store.lost({run_id: one.begun.fence for run_id, one in running.items()}):
                running[run_id].ticket.cancel("its lease was lost: another worker has taken it over")

    def ticking(self) -> None:
        """Post the ticks of schedules, until ``stop``."""
        pause = 0.0
        while not self._stop.wait(pause):
            try:
                pause = self.tick()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next one may be luckier
                log.warning("the schedules wait: %s: %s", type(error).__name__, error)
                pause = PAUSE


class Working:
    """A worker at work, on a loop and threads of its own."""

    def __init__(self, worker: QueueWorker) -> None:
        self.worker = worker
        self._own = Balancer("asyncio", workers=3, abandon_after=FOREVER)
        parts: list[Callable[[], Any]] = [worker.serve, worker.sweeping, worker.ticking]
        self._parts = [self._own.post(Task(part)()) for part in parts]

    async def ended(self) -> None:
        """Wait until it has ended. A cancellation lets it end, within its grace."""
        try:
            for part in self._parts:
                (await part).unwrap()
        finally:
            self.worker.stop()
            for part in self._parts:
                await part.ended()
            try:
                await self._own.aclose(grace=0)
            finally:  # a scope that is cancelled interrupts the first one
                await self.worker.balancer.aclose(grace=0)

    def wait(self) -> None:
        """Block until it has ended. Ctrl-C lets it end, within its grace; a second one does not wait."""
        try:
            for part in self._parts:
                part.wait().unwrap()
        finally:
            self.worker.stop()
            for part in self._parts:
                part.wait()
            try:
                self._own.close(grace=0)
            finally:
                self.worker.balancer.close(grace=0)
