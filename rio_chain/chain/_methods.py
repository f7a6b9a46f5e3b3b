"""Refuses a Task of a method in the body of its class, where there is no ``self`` to call the method with."""

from __future__ import annotations

import inspect
import sys
from types import FunctionType

from rio_chain._core.units import escape_nonprintable
from rio_chain.chain._nodes import Node, TaskNode, walk
from rio_chain.errors import ChainDefinitionError


def check_not_in_class(fn: object) -> None:
    """Refuse a method of the class whose body contains this ``Task(fn)``. ``Task`` calls this.

    Raises:
        ChainDefinitionError: it is such a method.
    """
    if not isinstance(fn, FunctionType) or "." not in fn.__qualname__ or fn.__qualname__.endswith("<lambda>"):
        return
    caller = sys._getframe(2)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # our own frame would be a cycle
    body = None if caller.f_code.co_flags & inspect.CO_OPTIMIZED else caller.f_locals.get("__qualname__")
    if isinstance(body, str):  # only a class body sets it
        _check(fn, body)


def check_attribute(node: Node, owner: type) -> None:
    """Refuse a chain whose tasks are methods of the class. A function called in the class body may make such a chain.

    Raises:
        ChainDefinitionError: one of its tasks is such a method.
    """
    for one in walk(node):
        if isinstance(one, TaskNode) and isinstance(one.fn, FunctionType):
            _check(one.fn, owner.__qualname__)


def _check(fn: FunctionType, owner: str) -> None:
    name = fn.__name__
    if fn.__qualname__ != f"{owner}.{name}" or name == "<lambda>":
        return
    cls, shown = escape_nonprintable(owner.rpartition(".<locals>.")[2]), escape_nonprintable(name)
    public = shown.lstrip("_")
    raise ChainDefinitionError(
        f"`{shown}` is a method of `{cls}`, and in the body of the class there is no `self` to call it with; "
        f"name the method `_{public}` and write `self.{public} = Task(self._{public})` in `__init__`"
    )
