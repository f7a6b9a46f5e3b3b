"""DaskExecutor: which cluster it is, and the host that connects to it."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from attrs import frozen

from rio_chain._core.units import Duration, count, seconds, short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.executors._base import Executor

if TYPE_CHECKING:
    from rio_chain.executors._base import Host

NAME = "dask"
MESSAGE_BYTES = 256 * 1024 * 1024


@frozen
class Settings:
    """What a ``DaskExecutor`` was made with, checked; durations in seconds."""

    address: str | None
    security: Any
    connect_timeout: float
    message_bytes: int


class DaskExecutor(Executor):
    """Run the pieces of chains on the workers of a Dask cluster: ``Balancer(DaskExecutor("tcp://10.0.0.7:8786"))``.

    It needs the extra: ``pip install 'rio-chain[dask]'``, here and on the workers. A scheduler runs what anybody sends
    it who reaches its port: use TLS, or a network of your own.

    Args:
        address: of the scheduler. Default: ``scheduler-address`` of Dask's configuration, which
            ``$DASK_SCHEDULER_ADDRESS`` sets; else workers on this machine, one for each core, that end with the
            balancer.
        security: a ``distributed.Security`` with the certificates of the cluster. Default: none.
        connect_timeout: how long the scheduler may take to answer, in milliseconds or as a ``timedelta``. Default
            10,000.
        message_bytes: the most that the input or the answer of a piece may have, pickled. A larger one fails with
            ``MessageTooLarge``. Default 256 MiB.

    Raises:
        ChainDefinitionError: an argument out of its range.
        ImportError: the extra is not installed.
    """

    name = NAME

    def __init__(
        self,
        address: str | None = None,
        *,
        security: Any = None,
        connect_timeout: Duration = 10_000,
        message_bytes: int = MESSAGE_BYTES,
    ) -> None:
        require_dask("DaskExecutor")
        self._settings = Settings(
            _address(address),
            security,
            seconds(connect_timeout, "connect_timeout"),
            count(message_bytes, "message_bytes", least=1),
        )

    def launch(self, threads: int, max_abandoned: int, name: str = "rio_chain-dask") -> Host:
        """As ``Executor.launch``."""
        from rio_chain.executors._asyncio import launch  # noqa: PLC0415 - whoever names an executor needs no loop
        from rio_chain.executors.dask._host import DaskHost  # noqa: PLC0415 - as above

        host = cast("DaskHost", launch(threads, max_abandoned, name, DaskHost))
        try:
            host.connect(self._settings)
        except BaseException:
            host.close()
            raise
        return cast("Host", host)


def launch(threads: int, max_abandoned: int, name: str = "rio_chain-dask") -> Host:
    """As ``ExecutorModule.launch``: the cluster of Dask's configuration, or one on this machine."""
    require_dask('executor "dask"')
    return DaskExecutor().launch(threads, max_abandoned, name)


def require_dask(caller: str) -> None:
    """Refuse a call that needs Dask where it is not installed.

    Raises:
        ImportError: the text says how to install it.
    """
    if find_spec("distributed") is None:
        raise ImportError(f"`{caller}` needs Dask: `pip install 'rio-chain[dask]'`", name="distributed")


def _address(given: object) -> str | None:
    if given is None or (isinstance(given, str) and given.strip()):
        return given
    raise ChainDefinitionError(
        f'`address` must be that of a scheduler, as "tcp://10.0.0.7:8786"; got {short_repr(given)}'
    )
