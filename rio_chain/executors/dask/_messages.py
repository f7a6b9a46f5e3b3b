"""What goes over the wire: plans, inputs and answers as bytes.

A policy that several chains share travels as how it was made, plus an id. Each worker process makes it once.
"""

from __future__ import annotations

import os
import traceback
import weakref
from collections.abc import Sequence
from contextvars import ContextVar
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeGuard

from attrs import evolve

from rio_chain import errors
from rio_chain._core.pickling import TooLarge, dumps, loads, plain_dumps, reason_of, tolerant_dumps
from rio_chain.chain._nodes import Bridge, FanOutNode, Handler, Node, OrElse, RaceNode, Scope, TaskNode, call_of, walk
from rio_chain.engine._remote_protocol import Held, PieceAnswer, PieceInput
from rio_chain.errors import MessageTooLarge, NotPicklable
from rio_chain.executors.lanes._error_transfer import portable
from rio_chain.policies._shared_state import Shared
from rio_chain.results._nested_run import NestedRun
from rio_chain.results._task_record import TaskRecord

if TYPE_CHECKING:
    from rio_chain.chain._plan import Plan

# --- policies that are shared -------------------------------------------------------------------------------------

PLAN_BYTES = 16 * 1024 * 1024
CLIENT = os.urandom(8).hex()
"""Tells the objects of this process from those of other clients."""
_made: weakref.WeakValueDictionary[tuple[str, int], Any] = weakref.WeakValueDictionary()
"""On a worker: the objects that stand for those of clients, as long as a plan is kept that has them."""


def shared_again(key: tuple[str, int], kind: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The object of this process that stands for a shared one of a client."""
    found = _made.get(key)
    return _made.setdefault(key, kind(*args, **kwargs)) if found is None else found


def _replaced(obj: object) -> Any:
    if isinstance(obj, Shared):
        args, kwargs = obj._made_with  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - they are made for that
        return shared_again, ((CLIENT, obj._serial), type(obj), args, kwargs)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return None


# --- plans --------------------------------------------------------------------------------------------------------


def plan_bytes(plan: Plan, most: int = PLAN_BYTES) -> bytes:
    """A plan for the workers.

    Raises:
        NotPicklable: the text names the task, the bridge or the policy that can't be pickled.
        MessageTooLarge: it takes more than ``most`` bytes, which would travel with each piece.
    """
    try:
        return dumps(plan, most, _replaced)
    except TooLarge:
        raise MessageTooLarge(plan.title, "chain", most) from None
    except Exception as error:
        raise _culprit(plan, error) from error


def _culprit(plan: Plan, error: Exception) -> NotPicklable:
    tasks, bridges = iter(plan.tasks), iter(plan.bridges)
    name = plan.title
    for node in walk(plan.root):
        what: object = None
        if isinstance(node, TaskNode):
            name, what = next(tasks).name, node.fn
        elif isinstance(node, Bridge):
            name, what = next(bridges).name, node.fn
        elif isinstance(node, OrElse) and not isinstance(node.fallback, Node):
            what = node.fallback.fn if isinstance(node.fallback, Handler) else node.fallback.value
        elif isinstance(node, Scope):
            what = node.policy
        elif isinstance(node, RaceNode):
            what = node.pick
        reason = _refusal(what)
        if reason is not None:
            part = _part(node, name)
            return NotPicklable(part, "function" if isinstance(node, (TaskNode, Bridge)) else "part", reason)
    return NotPicklable(plan.title, "chain", reason_of(error))


def _part(node: Node, name: str) -> str:
    if isinstance(node, (TaskNode, Bridge)):
        return name
    if isinstance(node, Scope):
        return node.policy.source()
    return f"{call_of(node)} of {name}" if isinstance(node, (FanOutNode, RaceNode)) else "a fallback"


def _refusal(what: object) -> str | None:
    try:
        dumps(what, replaced=_replaced)
    except Exception as error:  # noqa: BLE001 - a user's own way of pickling may raise anything
        return reason_of(error)
    return None


# --- inputs and answers -------------------------------------------------------------------------------------------


class OnWorker:
    """Stands in a Response for a value that has stayed on a worker."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __repr__(self) -> str:
        return f"<a value of {self.size:,} bytes, which has stayed on a worker>"


class HeldAnswer:
    """On a worker: an answer whose value stays there, and the bytes of the rest of it."""

    def __init__(self, data: bytes, value: Any) -> None:
        self.data = data
        self.value = value
        self.run = ""  # which of the runs it is, if workers have died


_held: ContextVar[Sequence[Any]] = ContextVar("rio_chain_held")


def _held_value(number: int) -> Any:
    """On a worker, while an input is unpickled: the value that a ``Held`` stands for."""
    return _held.get()[number]


def inputs_bytes(given: Sequence[PieceInput], most: int, keepers: dict[int, Any]) -> bytes:
    """The inputs of a batch. Plain tuples: a pickler of ours is asked for each object of another class.

    ``keepers`` gets those of the values in them that are on workers, in the order in which ``inputs_of`` gets them.

    Raises:
        TooLarge: they take more than ``most`` bytes.
        Exception: whatever pickling raises.
    """

    def replaced(obj: object) -> Any:
        if not isinstance(obj, Held):
            return _errors_again(obj)
        keepers.setdefault(id(obj), obj.keeper)
        return _held_value, (list(keepers).index(id(obj)),)

    return dumps([tuple(one) for one in given], most, replaced)


def inputs_of(data: bytes, held: Sequence[Any] = ()) -> list[PieceInput]:
    """The inputs that came, with the values that were on workers. Raises whatever unpickling raises."""
    token = _held.set(held)
    try:
        return [PieceInput._make(one) for one in loads(data)]
    finally:
        _held.reset(token)


def refusal_of(given: PieceInput, name: str, most: int) -> NotPicklable | MessageTooLarge | None:
    """Why an input can't be sent; None: it can."""
    try:
        inputs_bytes([given], most, {})
    except TooLarge:
        return MessageTooLarge(name, "argument", most)
    except Exception as error:  # noqa: BLE001 - a user's own way of pickling may raise anything
        return NotPicklable(name, "argument", reason_of(error))
    return None


def answer_bytes(answer: PieceAnswer, name: str, most: int) -> bytes:
    """The answer of a piece: one that can't be pickled is a failure that says so, with the records of its tasks."""
    short = _short(answer)
    if short is not None:
        try:
            return dumps(short, most, _errors_again)
        except Exception:  # noqa: BLE001, S110 - the long form says why
            pass
    value, kept = answer.value, answer.kept
    packed: bytes | None = None
    if answer.ending == "value":
        try:
            packed = dumps((value, kept), most, _errors_again)
        except TooLarge:
            answer = evolve(answer, ending="failed", value=MessageTooLarge(name, "answer", most))
        except Exception as error:  # noqa: BLE001 - a user's own way of pickling may raise anything
            answer = evolve(answer, ending="failed", value=NotPicklable(name, "answer", reason_of(error)))
    rest = evolve(answer, value=None, kept=()) if packed is not None else evolve(answer, kept=())
    return plain_dumps((_tolerant(rest), packed))


def held_answer(answer: PieceAnswer, name: str, most: int, size: int) -> HeldAnswer:
    """The answer of a piece whose value stays here."""
    value = answer.value
    log = [_without(found, value, size) for found in answer.log]
    return HeldAnswer(answer_bytes(evolve(answer, value=OnWorker(size), log=log), name, most), value)


def _without(found: Any, value: Any, size: int) -> Any:
    if isinstance(found, TaskRecord):
        found.value = OnWorker(size) if found.value is value else found.value
    elif found is not None and found[2] is value:
        return (*found[:2], OnWorker(size))
    return found


def _short(answer: PieceAnswer) -> tuple[Any, ...] | None:
    """By far the most frequent answer: tasks that were called once, and of which the last gave the value."""
    log = answer.log
    if answer.ending != "value" or answer.kept or answer.events or not log:
        return None
    if not all(type(found) is tuple for found in log) or log[-1][2] is not answer.value:
        return None
    return answer.times, tuple(log)


def answer_of(data: bytes) -> PieceAnswer:
    """The answer that came. Raises whatever unpickling raises."""
    read: tuple[Any, Any] = loads(data)
    rest, packed = read
    if type(rest) is not bytes:
        times: tuple[float, float] = rest
        return PieceAnswer("value", packed[-1][2], list(packed), (), times)
    answer: PieceAnswer = loads(rest)
    if packed is not None:
        answer.value, answer.kept = loads(packed)
    return answer


_OURS = frozenset(kind for kind in vars(errors).values() if isinstance(kind, type))
"""Their classes are everywhere, and what they hold is pickled with them, part by part."""


def _tolerant(answer: PieceAnswer) -> bytes:
    try:
        data, _ = tolerant_dumps(answer, _as_can_be)
    except RecursionError:  # dozens of Requests that tasks returned, one within the other
        data, _ = tolerant_dumps(answer, _without_nested)
    return data


def _without_nested(obj: object) -> Any:
    return (type(None), ()) if isinstance(obj, NestedRun) else _as_can_be(obj)


def _as_can_be(obj: object) -> Any:
    """How to make something again that can't be pickled by itself; a value that is large stays on the worker."""
    if isinstance(obj, Shared):
        args, kwargs = obj._made_with  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        return partial(type(obj), *args, **kwargs), ()
    if _is_users_error(obj) and obj.__traceback__ is not None:
        again, (parts, notes) = portable(obj)
        lines = "".join(traceback.format_exception(obj)).rstrip()
        return again, (parts, (*notes, f"on a Dask worker:\n{lines}"))
    return _errors_again(obj)


def _is_users_error(obj: object) -> TypeGuard[BaseException]:
    return isinstance(obj, BaseException) and type(obj) not in _OURS


def _errors_again(obj: object) -> Any:
    """How to make an error again, which may be in a value: not every one survives pickling."""
    if isinstance(obj, TracebackType):
        return type(None), ()
    return portable(obj) if _is_users_error(obj) else None
