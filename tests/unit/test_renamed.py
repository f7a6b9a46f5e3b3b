"""Names of earlier versions: whoever uses one reads the name of today, in code and in pickles."""

from __future__ import annotations

import importlib
import io
import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest

import rio_chain
from rio_chain import Breaker, ChainDefinitionError, Gate, PendingPermit, Permit, Task, policies

NAMES = {
    "Flights": "SingleFlight",
    "Hold": "Permit",
    "TooFew": "NotEnoughSuccesses",
    "Turn": "PendingPermit",
}
PLACES = [
    *(("rio_chain", old) for old in NAMES),
    *(("rio_chain.policies", old) for old in ("Flights", "Hold", "Turn")),
    ("rio_chain.errors", "TooFew"),
    ("rio_chain.policies._single_flight", "Flights"),
    ("rio_chain.policies._permit", "Hold"),
    ("rio_chain.policies._permit", "Turn"),
]
PICKLES = {  # made by the version before, with protocol 4
    "Flights": b"\x80\x04\x95*\0\0\0\0\0\0\0\x8c\x1ario_chain.policies.flights\x94\x8c\x07Flights\x94\x93\x94.",
    "Hold": b"\x80\x04\x95'\0\0\0\0\0\0\0\x8c\x17rio_chain.policies.hold\x94\x8c\x04Hold\x94\x93\x94)\x81\x94.",
    "Turn": b"\x80\x04\x95$\0\0\0\0\0\0\0\x8c\x17rio_chain.policies.hold\x94\x8c\x04Turn\x94\x93\x94.",
    "TooFew": (
        b"\x80\x04\x95O\x00\x00\x00\x00\x00\x00\x00\x8c\x10rio_chain.errors\x94\x8c\x06TooFew\x94\x93\x94K\x02K\x01)\x87"
        b"\x94R\x94}\x94(\x8c\x05least\x94K\x02\x8c\tsucceeded\x94K\x01\x8c\x06errors\x94)ub."
    ),
    "Call": (  # Task(len).timeout(100)
        b"\x80\x04\x95B\x01\x00\x00\x00\x00\x00\x00\x8c\x11rio_chain.compose\x94\x8c\x07_revive\x94\x93\x94\x8c\rrio_chain"
        b".dsl\x94\x8c\x05Chain\x94\x93\x94\x8c\x0frio_chain.nodes\x94\x8c\x05Scope\x94\x93\x94)\x81\x94}\x94(\x8c\x06policy"
        b"\x94\x8c\x1ario_chain.policies.timeout\x94\x8c\x07Timeout\x94\x93\x94)\x81\x94}\x94\x8c\x07seconds\x94G?\xb9\x99"
        b"\x99\x99\x99\x99\x9asb\x8c\x05inner\x94h\x06\x8c\x04Call\x94\x93\x94)\x81\x94}\x94(\x8c\x02fn\x94\x8c\x08builtins"
        b"\x94\x8c\x03len\x94\x93\x94\x8c\x04name\x94\x8c\x03len\x94\x8c\x08is_async\x94\x89\x8c\x06inline\x94\x89\x8c\x08"
        b"explicit\x94\x89\x8c\x04lane\x94N\x8c\x06origin\x94C\x08!d$\xcd\xb1\x8a\xack\x94\x8c\x04uses\x94)\x8c\tgenerator"
        b"\x94\x89ubub\x86\x94R\x94."
    ),
}
NODES = {"Call": "TaskNode"}


def run(code: str, module: object = None) -> None:
    exec(code, {"module": module})  # noqa: S102 - the code of a user


@pytest.mark.parametrize(("module", "old"), PLACES)
def test_an_old_name_is_an_attribute_error_with_the_new_one(module: str, old: str) -> None:
    with pytest.raises(AttributeError, match=f"`{old}` of {module} is now `{NAMES[old]}`"):
        getattr(importlib.import_module(module), old)
    with pytest.raises(AttributeError, match=f"is now `{NAMES[old]}`"):
        run(f"module.{old}", importlib.import_module(module))
    assert not hasattr(importlib.import_module(module), old)
    assert hasattr(importlib.import_module(module), NAMES[old])


@pytest.mark.parametrize(("module", "old"), PLACES)
def test_an_import_of_an_old_name_says_the_new_one(module: str, old: str) -> None:
    with pytest.raises(ImportError, match=f"`{old}` of {module} is now `{NAMES[old]}`"):
        run(f"from {module} import {old}")


@pytest.mark.parametrize("module", [rio_chain, policies, rio_chain.errors])
def test_any_other_name_is_missing_as_ever(module: Any) -> None:
    with pytest.raises(AttributeError, match=f"module '{module.__name__}' has no attribute 'Flight'"):
        _ = module.Flight
    with pytest.raises(ImportError, match="cannot import name 'Flight'"):
        run(f"from {module.__name__} import Flight")


def loads_of_its_own(data: bytes) -> Any:
    assert getattr(rio_chain, "Flights", None) is None  # another question in the same function
    return pickle.loads(  # noqa: S301 - data of this file
        data,
    )


UNPICKLERS: dict[str, Callable[[bytes], Any]] = {
    "loads": pickle.loads,
    "on lines of its own": loads_of_its_own,
    "load": lambda data: pickle.load(io.BytesIO(data)),  # noqa: S301
    "Unpickler": lambda data: pickle.Unpickler(io.BytesIO(data)).load(),  # noqa: S301
}


@pytest.mark.parametrize("unpickle", UNPICKLERS.values(), ids=UNPICKLERS)
@pytest.mark.parametrize("old", sorted(PICKLES.keys() - {"TooFew"}))
def test_a_pickle_that_names_a_module_that_has_moved_says_so(old: str, unpickle: Callable[[bytes], Any]) -> None:
    with pytest.raises(ModuleNotFoundError, match="an earlier version of rio_chain made it: make it again"):
        unpickle(PICKLES[old])


@pytest.mark.parametrize("unpickle", UNPICKLERS.values(), ids=UNPICKLERS)
@pytest.mark.parametrize("old", ["TooFew"])
def test_an_old_pickle_says_the_new_name(old: str, unpickle: Callable[[bytes], Any]) -> None:
    new = (NAMES | NODES)[old]
    text = rf"^`{old}` of rio_chain\.[a-z.]+ is now `{new}`. An earlier version of rio_chain made this pickle: "
    with pytest.raises(ImportError, match=text):
        unpickle(PICKLES[old])


def test_the_old_name_of_an_argument_is_refused_with_the_right_code() -> None:
    made: Any = Breaker
    with pytest.raises(
        ChainDefinitionError, match=r"^`least=` of a Breaker is now `min_calls=`: write Breaker\(min_calls=5\)$"
    ):
        made(ratio=0.5, least=5)
    with pytest.raises(TypeError, match="min_calls="):
        made(3, least=10)
    with pytest.raises(TypeError, match="unexpected keyword argument 'lest'"):
        made(lest=10)


def test_a_subclass_may_have_an_argument_of_the_old_name() -> None:
    class Mine(Breaker):
        def __init__(self, least: int) -> None:
            super().__init__(ratio=0.5, min_calls=least)

    assert "50 % failures of 7 or more calls" in repr(Mine(least=7))


def test_the_permit_of_a_pending_permit_has_no_old_name() -> None:
    class Waits(PendingPermit):
        def quit(self) -> None: ...

    pending: Any = Waits()
    with pytest.raises(AttributeError, match="`hold` of a PendingPermit is now `permit`"):
        pending.hold = Permit()
    with pytest.raises(AttributeError, match="`hold` of a PendingPermit is now `permit`"):
        _ = pending.hold
    assert pending.permit is None


class OfBefore(Gate):
    def enter(self, key: Any, clock: Any) -> Any:  # type: ignore[override]
        raise NotImplementedError


class WithDefaults(Gate):
    def enter(self, key: Any = None, clock: Any = None) -> Any:  # type: ignore[override]
        raise NotImplementedError


class Alone(Gate):
    def enter(self) -> Any:  # type: ignore[override]
        raise NotImplementedError


class Later(Gate):
    async def enter(self, call: Any) -> Any:
        raise NotImplementedError


RULE = r"^the `enter` of a Gate takes one argument, a Call, and decides at once: write `def enter\(self, call\):`"


@pytest.mark.parametrize("method", ["limit", "breaker"])
@pytest.mark.parametrize(
    ("gate", "got"),
    [
        (OfBefore(), r"`OfBefore\.enter\(key, clock\)`"),
        (WithDefaults(), r"`WithDefaults\.enter\(key=None, clock=None\)`"),
        (Alone(), r"`Alone\.enter\(\)`"),
        (Later(), r"the async function `Later\.enter\(call\)`"),
    ],
)
def test_a_gate_that_does_not_take_a_call_is_refused_where_it_is_given(method: str, gate: Gate, got: str) -> None:
    with pytest.raises(ChainDefinitionError, match=f"{RULE}.*; got {got}$"):
        getattr(Task(len), method)(gate)


def test_a_gate_may_take_its_call_in_any_way() -> None:
    class Named(Gate):
        def enter(self, asked: Any, /, *_: Any, **__: Any) -> Permit:
            assert asked.key is None
            return Permit()

    assert Task(len).limit(Named())("tea").run().unwrap() == 3


def test_each_finder_may_be_asked_for_a_module_that_is_there() -> None:
    """Some tools do so, and take the first answer."""
    for finder in sys.meta_path:
        finder.find_spec("rio_chain.dsl", rio_chain.__path__, None)
