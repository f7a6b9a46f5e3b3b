"""The lanes of a balancer: given by name and size, opened when it binds, closed with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from rio_chain._core.units import count, short_repr
from rio_chain.errors import ChainDefinitionError

if TYPE_CHECKING:
    from rio_chain.engine import _runtime_protocol
    from rio_chain.executors.lanes._lane import Lane


class BalancerLanes:
    """The arguments ``Balancer(lanes=..., lane_bytes=...)``, checked; and the lanes once they are open.

    Raises:
        ChainDefinitionError: ``lanes`` is not a mapping of names to whole numbers of 1 or more, or ``lane_bytes`` is
            not a whole number of 1 or more.
    """

    def __init__(self, sizes: object, most: object) -> None:
        if sizes is not None and not isinstance(sizes, Mapping):
            raise ChainDefinitionError(f'`lanes` must be a dict such as {{"cpu": 2}}; got {short_repr(sizes)}')
        items = cast("Mapping[object, object]", sizes or {}).items()
        self._sizes = {_name(key): count(size, f"lanes[{key!r}]", least=1) for key, size in items}
        self._most = _bytes(most)
        self._open: tuple[Lane, ...] = ()

    def fresh(self) -> BalancerLanes:
        """A copy that is not open."""
        return BalancerLanes(self._sizes, self._most)

    def open(self) -> Mapping[str, _runtime_protocol.Lane]:
        """The lanes by name. They start no process before the first call."""
        if not self._sizes:
            return {}
        from rio_chain.executors.lanes._lane import Lane  # noqa: PLC0415 - few balancers have lanes

        if not self._open:
            self._open = tuple(Lane(name, size, self._most) for name, size in self._sizes.items())
        return {lane.name: lane for lane in self._open}

    def forget(self) -> None:
        """In a forked child: drop the lanes that the parent has opened."""
        self._open = ()

    def close(self, *, wait: bool = True) -> None:
        """Kill the processes; with ``wait`` wait until they have ended. No request runs any more."""
        for lane in self._open:
            lane.close(wait=wait)


def _name(key: object) -> str:
    if not isinstance(key, str) or not key.strip():
        raise ChainDefinitionError(f"`lanes` must have non-empty strings for names; got {short_repr(key)}")
    return key


def _bytes(most: object) -> int:
    try:
        return count(most, "lane_bytes", least=1)
    except ChainDefinitionError as error:
        raise ChainDefinitionError(f"{error}; write `lane_bytes=64 * 1024**2` for 64 MiB") from None
