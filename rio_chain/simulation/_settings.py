"""All settings of a simulation but the chain: the load, the workers, the limits. They are checked when given."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from itertools import islice
from typing import Any, cast

from attrs import frozen

from rio_chain._core.units import Duration, count, number, seconds, short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.policies._checks import callback
from rio_chain.simulation._arrivals import Arrivals, checked
from rio_chain.simulation._stage import Backend

REQUESTS = 10_000


@frozen
class Setting:
    """All settings of a simulation but the chain, checked. Times in seconds."""

    backends: Mapping[str, Backend]
    requests: int
    arrivals: Arrivals | None
    workers: int
    buffer: int | None
    queue_timeout: float | None
    deadline: float | None
    priority: float | Callable[[Any], float]
    aging: float | None
    fair: bool | Mapping[Hashable, float]
    tenant: Callable[[Any], Hashable] | None
    shed: Any
    shed_late: bool
    abandon_after: float
    inputs: tuple[Any, ...] | None
    warmup: int
    seed: int
    first: int = 0  # the number of the first request


def setting(
    backends: Mapping[str, Backend],
    *,
    requests: int | None = None,
    arrivals: Arrivals | None = None,
    workers: int = 10,
    buffer: int | None = None,
    queue_timeout: Duration | None = None,
    deadline: Duration | None = None,
    priority: float | Callable[[Any], float] = 0,
    aging: Duration | None = None,
    fair: bool | Mapping[Hashable, float] = False,
    tenant: Callable[[Any], Hashable] | None = None,
    shed: Any = None,
    shed_late: bool = False,
    abandon_after: Duration = 30_000,
    inputs: Iterable[Any] | None = None,
    warmup: int = 0,
    seed: int = 0,
) -> Setting:
    """Check the settings that a user gave."""
    came = checked(arrivals)
    warmup = count(warmup, "warmup")
    wanted = _requests(requests, came, warmup)
    values = None if inputs is None else tuple(islice(_many(inputs), wanted + warmup))
    if values == ():
        raise ChainDefinitionError("`inputs` needs at least one value; got none")
    if not callable(priority):
        number(priority, "priority")
    if isinstance(seed, bool) or not isinstance(cast("object", seed), int):
        raise ChainDefinitionError(f"`seed` must be a whole number; got {short_repr(seed)}")
    return Setting(
        backends,
        wanted,
        came,
        count(workers, "workers", least=1),
        None if buffer is None else count(buffer, "buffer"),
        None if queue_timeout is None else seconds(queue_timeout, "queue_timeout", zero=True),
        None if deadline is None else seconds(deadline, "deadline"),
        priority,
        None if aging is None else seconds(aging, "aging"),
        fair,
        None if tenant is None else callback(tenant, "tenant", "a function of the input that returns the tenant"),
        shed,
        shed_late,
        seconds(abandon_after, "abandon_after"),
        values,
        warmup,
        seed,
    )


def _requests(requests: int | None, arrivals: Arrivals | None, warmup: int) -> int:
    limit = None if arrivals is None else arrivals.limit
    if requests is None:
        return REQUESTS if limit is None else max(1, limit - warmup)
    wanted = count(requests, "requests", least=1)
    if limit is not None and wanted + warmup > limit:
        raise ChainDefinitionError(
            f"`requests` must be at most {limit - warmup}: there are no more in {arrivals!r}; got {wanted}"
        )
    return wanted


def _many(inputs: Iterable[Any]) -> Iterable[Any]:
    given: Any = inputs
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise ChainDefinitionError(
            f"`inputs` must be a list of values, one for each call of the chain; got {short_repr(inputs)}"
        )
    return inputs
