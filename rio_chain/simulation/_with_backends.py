"""with_backends: the same chain with other functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from attrs import evolve

from rio_chain._core.signatures import signature_of
from rio_chain._core.source_text import name_of
from rio_chain._core.units import escape_nonprintable, flag, short_repr
from rio_chain.chain._bridge_checks import function
from rio_chain.chain._compose import Composed, made
from rio_chain.chain._fresh_policies import FreshPolicies
from rio_chain.chain._functions import MISSING, Filled, StandIn, Star, is_async, is_generator, written
from rio_chain.chain._nodes import Bridge, Node, TaskNode, flat, heads, parts, walk, with_parts
from rio_chain.chain._plan import PlannedTask, numbered
from rio_chain.chain._validation import names_in
from rio_chain.errors import ChainDefinitionError
from rio_chain.simulation._batched_answers import answers_batch, for_each_key
from rio_chain.simulation._latency_models import LatencyModel
from rio_chain.simulation._script import Script

RULE = "`with_backends` takes a dict of task names and what to call instead"
Backend = Callable[..., Any] | LatencyModel


def with_backends(chain: Composed, backends: Mapping[str, Backend], seed: int, *, fresh: bool) -> Any:
    """The chain with other functions in its tasks; see ``Chain.with_backends``."""
    if not isinstance(cast("object", backends), Mapping) or not backends:
        raise ChainDefinitionError(f'{RULE}, as {{"fetch_user": Script().always(5)}}; got {short_repr(backends)}')
    if isinstance(seed, bool) or not isinstance(cast("object", seed), int):
        raise ChainDefinitionError(f"`seed` must be a whole number; got {short_repr(seed)}")
    root = flat(chain.node)
    if flag(fresh, "fresh"):
        root = FreshPolicies().node(root)
    nodes = list(walk(root))
    tasks = numbered(root, nodes)
    given = {_known(name, tasks, nodes): _backend(name, value, seed) for name, value in backends.items()}
    first = {id(head) for head in heads(root)}
    models = {name for name, value in backends.items() if isinstance(value, LatencyModel)}
    listed = answers_batch(root) if models else frozenset[int]()
    for task in tasks:
        named = next((name for name in (task.name, task.call.name) if name in given), None)
        if task.index in listed and named in models:
            given[task.name] = for_each_key(given[named])
    calls = iter([_replaced(task, given, head=id(task.call) in first) for task in tasks])
    new = _rebuilt(root, calls)
    return made(type(chain), new, names_in(new))


def _known(name: object, tasks: tuple[PlannedTask, ...], nodes: list[Node]) -> str:
    """Check that the name is that of a task of the chain."""
    if not isinstance(name, str):
        raise ChainDefinitionError(f"{RULE}; got {short_repr(name)} for a name")
    for found in (name, escape_nonprintable(name)):  # names are stored as printable ASCII
        if any(found in (task.name, task.call.name) for task in tasks):
            return found
    have = ", ".join(task.name for task in tasks)
    bridge = any(isinstance(node, Bridge) and node.name == name for node in nodes)
    what = "is a bridge, which runs as it is" if bridge else "is not a task of this chain"
    raise ChainDefinitionError(f"`with_backends`: {short_repr(name)} {what}; its tasks are {have}")


def _backend(name: str, value: object, seed: int) -> Callable[..., Any]:
    """The function to call. Each model has its own seed by name, so that two backends are not late together."""
    if isinstance(value, LatencyModel):
        return Script(seed=f"{seed}:{name}").model(value)
    rule = f"`with_backends`: for {short_repr(name)} give a Script, a LatencyModel or a function, sync or async"
    if value is Script or value is LatencyModel:
        raise ChainDefinitionError(f"{rule}; got the class `{name_of(value)}`: make one, as Script().always(5)")
    return function(value, rule, generators=True)


def _replaced(task: PlannedTask, given: Mapping[str, Callable[..., Any]], *, head: bool) -> TaskNode:
    """The task with its backend, if it has one: by the name of this occurrence, or by that of its function."""
    call = task.call
    backend = given.get(task.name, given.get(call.name))
    if backend is None:
        return call
    if is_generator(backend) and not call.generator:
        function(backend, f"`with_backends`: `{task.name}` must return one value")  # raises
    _check(task, backend, head=head)
    return evolve(
        call,
        fn=_in_place_of(call.fn, backend),
        is_async=is_async(backend),
        generator=is_generator(backend),
        inline=call.inline and not is_async(backend),
        lane=None,
    )


def _in_place_of(fn: Callable[..., Any], backend: Callable[..., Any]) -> Callable[..., Any]:
    """The backend, which gets its arguments as ``fn`` does: spread by ``star``, filled by ``using``."""
    if isinstance(fn, Filled):
        return evolve(fn, fn=_in_place_of(fn.fn, backend))
    if isinstance(fn, Star):
        return Star(_in_place_of(fn.fn, backend))
    return StandIn(backend, fn.original if isinstance(fn, StandIn) else fn)


def _check(task: PlannedTask, backend: Callable[..., Any], *, head: bool) -> None:
    """Refuse a function that can't be called as the chain calls the task."""
    args, kwargs = _least(task.call, head=head)
    signature = signature_of(backend)
    if signature is None:
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise ChainDefinitionError(
            f"`with_backends`: `{written(backend)}` can't be called as `{task.name}` is, which is "
            f"`{written(task.call.fn)}`: {escape_nonprintable(str(error))}"
        ) from None


def _least(call: TaskNode, *, head: bool) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The least arguments that a task is called with."""
    fn: Any = call.fn
    if isinstance(fn, Filled):
        kwargs = {use.keyword: MISSING for use in call.uses}
        if fn.first:
            kwargs[fn.first] = MISSING
        return ((MISSING,) if fn.first == "" else ()), kwargs
    if not head and not isinstance(fn, Star):
        return (MISSING,), {}
    signature = signature_of(fn.fn if isinstance(fn, Star) else fn)
    if signature is None:
        return (), {}
    needed = [p for p in signature.parameters.values() if p.default is p.empty]
    args = tuple(MISSING for p in needed if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))
    return args, {p.name: MISSING for p in needed if p.kind is p.KEYWORD_ONLY}


def _rebuilt(node: Node, calls: Iterator[TaskNode]) -> Node:
    if isinstance(node, TaskNode):
        return next(calls)
    return with_parts(node, tuple(_rebuilt(part, calls) for part in parts(node)))
