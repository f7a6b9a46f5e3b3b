"""Refuses a Task of a method in the body of its class: there is no ``self`` that the method could be called with."""

from __future__ import annotations

import inspect
from types import FunctionType

from rio_chain._core.units import escape_nonprintable
from rio_chain.chain._nodes import Node, TaskNode, walk
from rio_chain.errors import ChainDefinitionError


def check_not_in_class(fn: object) -> None:
    """Called by ``Task(fn)``: refuse a method of the class in whose body that is written.

    Raises:
        ChainDefinitionError: it is one.
    """
    frame = inspect.currentframe() if isinstance(fn, FunctionType) else None
    caller = frame.f_back.f_back if frame is not None and frame.f_back is not None else None
    optimized = caller is None or caller.f_code.co_flags & inspect.CO_OPTIMIZED
    body = None if optimized or caller is None else caller.f_locals.get("__qualname__")  # set in a class body alone
    del frame, caller  # the frame would keep itself, and the arguments of the function that makes the Task
    if isinstance(fn, FunctionType) and isinstance(body, str):
        _check(fn, body)


def check_attribute(node: Node, owner: type) -> None:
    """Refuse a chain, made in the body of a class by a function that was called there, whose tasks are its methods.

    Raises:
        ChainDefinitionError: one of them is.
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
