"""The source of a task with the policies around it, with the names that the user has given to its objects."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import FunctionType, MethodType
from typing import Any

from rio_chain._core.source_text import name_of, wrapped
from rio_chain.chain._compose import Composed
from rio_chain.chain._nodes import Node, RaceNode, Scope, TaskNode, flat, parts, with_parts
from rio_chain.chain._source import source
from rio_chain.inspect._lambda_source import lambda_source
from rio_chain.policies import Quantile
from rio_chain.policies._shared_state import Shared, constructor
from rio_chain.simulation._policy_changes import peeled

Names = Mapping[str, Any]
"""The variables of the module that defines a function."""


def written(chain: Composed, name: str) -> str:
    """The source of a task with the policies directly around it. It runs in the module that defines the task.

    A limit, breaker or the like is written by the name of a variable of that module. If there is none, it is written
    as the call that makes such an object.
    """
    names = iter([task.name for task in chain.plan().tasks])
    for node in _stacks(flat(chain.plan().root)):
        if next(names) == name:
            return _source(node)
    raise KeyError(name)


def _stacks(node: Node) -> list[Node]:
    """Each task with the policies around it, in plan order."""
    core = peeled(node)[1]
    if isinstance(core, TaskNode):
        return [node]
    return [stack for part in parts(core) for stack in _stacks(part)]


def _source(node: Node) -> str:
    layers, task = peeled(node)
    assert isinstance(task, TaskNode)  # noqa: S101 - `_stacks` gives no others
    variables = _variables(task.fn)
    whole, bare = task_source(task, variables), source(task)
    for layer in layers:
        whole += _call(layer, source(with_parts(layer, (task,)))[len(bare) :], variables)
    return whole


def task_source(task: TaskNode, variables: Names) -> str:
    """The task alone: ``Task(function)``, or the variable that holds it if its function has none: ``@Task``."""
    whole, bare = source(task), f"Task({name_of(task.fn)})"
    if variables.get(name_of(task.fn)) is task.fn:
        return whole
    found = _name_in(variables, lambda value: isinstance(value, Composed) and flat(value.node) == task)
    text = lambda_source(task.fn)
    return found or (whole if text is None else whole.replace(bare, f"Task({text})", 1))


def _call(layer: Node, text: str, variables: Names) -> str:
    """The call that adds a layer, given how ``repr`` writes it: there, an object with a state has a made-up name."""
    if isinstance(layer, RaceNode) and isinstance(layer.after, Quantile):
        return text.replace("after=quantile", f"after={_object(layer.after, variables) or 'quantile'}")
    if not isinstance(layer, Scope):
        return text
    policy: Any = layer.policy
    made_up = f"({policy.variable or policy.builder_call})"
    found = _object(policy, variables) if text.endswith(made_up) else None
    return text if found is None else f"{text.removesuffix(made_up)}({found})"


def _object(given: object, variables: Names) -> str | None:
    found = _name_in(variables, lambda value: value is given)
    return constructor(given) if found is None and isinstance(given, Shared) else found


def _name_in(variables: Names, fits: Callable[[Any], bool]) -> str | None:
    """The first variable that fits. Those of a notebook that begin with an underscore are its history."""
    return next(
        (name for name, value in variables.items() if name.isidentifier() and name[0] != "_" and fits(value)), None
    )


def _variables(fn: Any) -> Names:
    """The variables of the module in which the function is defined. None of them, if it is no Python function."""
    while (inner := wrapped(fn)) is not None:
        fn = inner
    if isinstance(fn, MethodType):
        fn = fn.__func__
    if not isinstance(fn, FunctionType):
        return {}
    inside: Any = inspect.unwrap(fn)
    return dict(getattr(inside, "__globals__", {}))  # a copy: other threads may add names
