"""Selects an executor: by its name, by ``$RIO_EXECUTOR``, or as an object."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rio_chain._core.units import short_repr
from rio_chain.errors import ChainDefinitionError
from rio_chain.executors._base import Executor
from rio_chain.executors._running_loop import NAMES, module_named

if TYPE_CHECKING:
    from rio_chain.executors._base import ExecutorModule

DEFAULT = "asyncio"


def checked_name(name: object, what: str = "executor") -> str:
    """Check the name of an executor."""
    if isinstance(name, str) and name in NAMES:
        return name
    raise ChainDefinitionError(f"`{what}` must be one of {', '.join(map(repr, NAMES))}; got {short_repr(name)}")


def checked_executor(given: object) -> str | Executor:
    """Check an executor object, or the name of an executor."""
    if isinstance(given, Executor):
        return given
    for kind in Executor.__subclasses__():
        if given is kind:
            raise ChainDefinitionError(f"`executor` must be an instance: write {kind.__name__}()")
    return checked_name(given)


def default_name() -> str:
    """The executor that ``$RIO_EXECUTOR`` names; asyncio if it is not set."""
    return checked_name(os.environ.get("RIO_EXECUTOR") or DEFAULT, "RIO_EXECUTOR")


def module_of(executor: str | Executor) -> ExecutorModule:
    """The module of a named executor, or the executor object itself."""
    return executor if isinstance(executor, Executor) else module_named(executor)
