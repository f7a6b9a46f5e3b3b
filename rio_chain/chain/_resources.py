"""``.resources(gpu=1, memory="2GiB")``: what a worker of a cluster must have for a task."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from attrs import evolve

from rio_chain._core.units import number, short_repr
from rio_chain.chain._nodes import TaskNode
from rio_chain.errors import ChainDefinitionError

Resources = tuple[tuple[str, float], ...]
"""Names with amounts, sorted."""
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*((?:[kMGT]|[KMGT]i)?)B\s*")
RULE = 'a number above 0, or a size such as "2GiB" or "500MB"'


def with_resources(call: TaskNode, given: Mapping[str, object]) -> TaskNode:
    """The same task, which needs these as well.

    Raises:
        ChainDefinitionError: none is given, or an amount is none.
    """
    if not given:
        raise ChainDefinitionError("`.resources()` needs at least one, as in .resources(gpu=1)")
    needs = {**dict(call.resources), **{name: _amount(name, amount) for name, amount in given.items()}}
    return evolve(call, resources=tuple(sorted(needs.items())))


def _amount(name: str, given: object) -> float:
    if isinstance(given, str):
        found = _SIZE.fullmatch(given)
        amount = 0.0 if found is None else float(found[1]) * _UNITS[found[2]]
        if not amount:
            raise ChainDefinitionError(f"`{name}` of `.resources()` must be {RULE}; got {short_repr(given)}")
        return amount
    try:
        return float(number(cast("Any", given), name, above=0))
    except ChainDefinitionError:
        raise ChainDefinitionError(f"`{name}` of `.resources()` must be {RULE}; got {short_repr(given)}") from None


def together(all_of: Iterable[Resources]) -> dict[str, float]:
    """What a worker must have that runs these tasks one after the other: the most of each."""
    found: dict[str, float] = {}
    for resources in all_of:
        for name, amount in resources:
            found[name] = max(amount, found.get(name, 0.0))
    return found


def resources_source(resources: Resources) -> str:
    """As they are written: ``gpu=1, memory=2147483648``."""
    return ", ".join(f"{name}={amount:.15g}" for name, amount in resources)
