"""The cluster: the only file that imports ``distributed``. All of it is called on the loop of one host.

The first half is the client's. The second half is what the workers have of it: a plugin, and the function that Dask
calls there.
"""

# pyright: reportMissingImports=false, reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUntypedBaseClass=false
from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from dask import config  # pyright: ignore[reportAttributeAccessIssue, reportUnknownVariableType]
from dask.sizeof import sizeof
from distributed import Client, KilledWorker, LocalCluster, WorkerPlugin, get_worker
from distributed.utils import wait_for

from rio_chain._core.pickling import plain_dumps
from rio_chain.errors import UsageError
from rio_chain.executors.dask._messages import HeldAnswer
from rio_chain.executors.dask._service import SentBatch, WorkerService

ANSWER_AFTER = 30.0
"""Seconds that the workers may take to get the plugin."""
LOGGED_AFTER = 0.005
"""Seconds after which the begin of a batch is logged. For shorter ones it would take as long as they do."""
Began = Callable[[str, str], object]
"""Called with the key of a batch and the number of the run when a worker has begun it."""


class Cluster:
    """A connection to a scheduler, with our plugin on its workers."""

    def __init__(self, client: Any, own: Any, session: str) -> None:
        self._client = client
        self._own = own  # a cluster on this machine that ends with us
        self._session = session
        self._calls = 0

    @classmethod
    async def open(  # noqa: PLR0917 - the settings
        cls, address: str | None, security: Any, connect_timeout: float, threads: int, most: int, began: Began
    ) -> Cluster:
        """Connect, or start workers on this machine, and bring them the plugin.

        Raises:
            UsageError: that is not possible. The text says what to do.
        """
        session = f"rio_chain-{os.urandom(8).hex()}"
        address = address or config.get("scheduler-address", None)
        own: Any = None
        if address is None:
            count = os.cpu_count() or 1
            own = await LocalCluster(
                n_workers=count,
                threads_per_worker=math.ceil(threads / count),
                processes=True,
                asynchronous=True,
                dashboard_address="127.0.0.1:0",  # else a port that others may have
            )
        try:
            client = await cls._connected(own or address, security, connect_timeout)
            found = cls(client, own, session)
            try:
                await found._prepare(threads, most, began)
            except BaseException:
                await client.close()
                raise
        except BaseException:
            if own is not None:
                await own.close()
            raise
        return found

    @staticmethod
    async def _connected(address: Any, security: Any, seconds: float) -> Any:
        client: Any = None
        try:
            client = Client(
                address, asynchronous=True, security=security, timeout=seconds, set_as_default=False, name="rio_chain"
            )
            return await wait_for(client, seconds + 1.0)  # its own timeout does not hold in a handshake
        except (OSError, ValueError, TypeError) as error:
            if client is not None:
                with suppress(Exception):  # it has closed what it could
                    await client.close()
            raise UsageError(
                f"no Dask scheduler answers at {address} within {seconds:g} s ({error}); look whether `dask scheduler` "
                "runs there, whether the port is open, and whether `security=` is that of the cluster"
            ) from error

    async def _prepare(self, threads: int, most: int, began: Began) -> None:
        plugin = PiecesPlugin(self._session, threads, most, versions())
        try:
            await wait_for(self._client.register_plugin(plugin), ANSWER_AFTER)
        except TimeoutError as error:
            raise UsageError(
                f"a worker has not answered within {ANSWER_AFTER:g} s; look whether all workers of the cluster can be "
                "reached from its scheduler"
            ) from error
        except Exception as error:
            with suppress(Exception):
                await self._client.unregister_worker_plugin(self._session)
            raise UsageError(
                f"the workers can't run rio_chain: {error}; install the same rio-chain as here there "
                f"({versions()}), with the extra `dask`"
            ) from error
        self._client.subscribe_topic(self._session, _logged(began))

    def slots(self) -> int:
        """How many tasks the workers run at once."""
        return int(self._client.scheduler_info()["total_threads"]) or 1  # as it was a moment ago

    @property
    def connected(self) -> bool:
        """Whether the scheduler is there."""
        return bool(self._client.status == "running")

    def next_key(self) -> str:
        """That of the next batch: each has one of its own, as Dask takes two tasks of one key for one."""
        self._calls += 1
        return f"{self._session}-{self._calls}"

    async def missing(self, needs: Mapping[str, float]) -> bool:
        """Whether no worker has all of that."""
        workers = (await self._client.scheduler.identity(n_workers=-1))["workers"].values()
        return not any(all(one["resources"].get(name, 0) >= most for name, most in needs.items()) for one in workers)

    def submit(self, key: str, batch: SentBatch, held: Sequence[Any], more: Mapping[str, Any]) -> Any:
        """Begin a batch; ``held`` keeps the values in it that are on workers. Gives what to await for the answers.

        ``more``: the ``priority`` and the ``resources``.
        """
        given = self._session, key, batch, *held
        return self._client.submit(run_pieces, *given, key=key, pure=False, **more)

    def small_part(self, key: str, batch: Any, priority: float) -> Any:
        """The answer of a batch whose value may stay where it is: what to await for the rest."""
        return self._client.submit(small_part, batch, key=f"{key}-answer", pure=False, priority=priority)

    async def stop(self, ids: Sequence[str]) -> set[str]:
        """Stop pieces, wherever they run. Gives those that ran."""
        answers = await self._client.scheduler.broadcast(msg={"op": self._session, "ids": list(ids)}, on_error="return")
        return {one for answer in answers.values() if isinstance(answer, (list, tuple)) for one in answer}

    async def close(self) -> None:
        """Leave nothing on the cluster."""
        client = self._client
        if self.connected:
            await client.unregister_worker_plugin(self._session)
            await client.run_on_scheduler(forget_topic, self._session)
        await client.close()
        if self._own is not None:
            await self._own.close()


def _logged(began: Began) -> Callable[[tuple[float, tuple[str, str]]], None]:
    """Gets what workers have logged, and when."""

    def logged(event: tuple[float, tuple[str, str]]) -> None:
        began(*event[1])

    return logged


def reason_of_loss(error: BaseException) -> str:
    """Why a batch has no answers, and what to do."""
    if isinstance(error, KilledWorker):
        return (
            "each worker that ran it died: it may need more memory than a worker has, or end its process; the logs of "
            "the workers say more"
        )
    text = f"{type(error).__name__}: {error}"
    return f"Dask gave no answer ({text}); look whether the scheduler and the workers still run"


def versions() -> str:
    """What must be the same here and there."""
    from importlib.metadata import version  # noqa: PLC0415 - it takes a while

    return f"rio-chain {version('rio-chain')}, Python {'.'.join(platform.python_version_tuple()[:2])}"


# --- on the workers -----------------------------------------------------------------------------------------------


class PiecesPlugin(WorkerPlugin):  # type: ignore[misc]  # distributed has no types
    """Has the pieces that run on a worker, so that they can be stopped there."""

    def __init__(self, session: str, threads: int, most: int, wanted: str) -> None:
        self.name = session
        self._settings = threads, most
        self._wanted = wanted
        self.service: WorkerService | None = None
        self.refusal = "the worker is closing"

    def setup(self, worker: Any) -> None:
        """The worker begins, or the plugin has come."""
        if versions() != self._wanted:
            self.refusal = f"the worker has {versions()}, and the client has {self._wanted}"
            raise RuntimeError(self.refusal)
        self.service = WorkerService(*self._settings, sizeof)
        worker.handlers[self.name] = self.stop

    def teardown(self, worker: Any) -> None:
        """The worker or the client ends."""
        worker.handlers.pop(self.name, None)
        if self.service is not None:
            self.service.close()

    def stop(self, ids: Sequence[str]) -> list[str]:
        """A message of the client."""
        return [] if self.service is None else self.service.stop(ids)


async def run_pieces(
    session: str, key: str, batch: SentBatch, *held: list[HeldAnswer]
) -> bytes | list[HeldAnswer] | str:
    """What Dask calls. A text: why nothing was run. A list: the one value in it stays here.

    Else one object has all answers, as Dask sends each ``bytes`` of a list as a frame of its own.
    """
    worker = get_worker()
    plugin: Any = worker.plugins.get(session)
    if plugin is None:
        return "the client has closed"
    if plugin.service is None:
        return str(plugin.refusal)
    run = os.urandom(6).hex()
    log = worker.loop.call_later(LOGGED_AFTER, _log_begin, worker, session, (key, run))
    try:
        answers: list[Any] = await plugin.service.run(key, batch, [one.value for (one,) in held])
    finally:
        worker.loop.remove_timeout(log)
    if answers and isinstance(answers[0], HeldAnswer):
        answers[0].run = run
        return answers
    return plain_dumps((run, answers))


def small_part(answers: bytes | list[HeldAnswer] | str) -> bytes | list[tuple[str, bytes]] | str:
    """What Dask calls after that, where the answer is: all but a value that stays there. A list: it does."""
    return [(answer.run, answer.data) for answer in answers] if isinstance(answers, list) else answers


async def _log_begin(worker: Any, session: str, begun: tuple[str, str]) -> None:
    """Tell the scheduler. A message on the stream of the worker would delay the next one by 2 ms."""
    with suppress(Exception):  # the scheduler is lost, and so is the piece
        await worker.scheduler.log_event(topic=session, msg=begun)


def forget_topic(topic: str, dask_scheduler: Any = None) -> None:
    """Called on the scheduler: it keeps no events of a client that is gone."""
    dask_scheduler._broker._topics.pop(topic, None)  # noqa: SLF001 - no public way removes a topic
