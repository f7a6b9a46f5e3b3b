"""Which constants of a chain are copied, which are given as they are, and which are refused."""

import threading
from collections import OrderedDict, defaultdict
from decimal import Decimal
from enum import Enum
from operator import add
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rio_chain import ChainDefinitionError, Task, reduce
from rio_chain._core.copied_constants import fresh
from rio_chain.testing import LatencyModel, Script


class Colour(Enum):
    RED = 1


class Missing:
    pass


class Slotted:
    __slots__ = ("items",)

    def __init__(self, items: list[int] | None = None) -> None:
        if items is not None:
            self.items = items


@pytest.mark.parametrize(
    "constant",
    [None, True, 0, 1.5, "text", b"x", (1, "a"), ..., Colour.RED, int, len, Decimal(1), range(3), object(), Missing()],
    ids=lambda constant: type(constant).__name__,
)
def test_what_cannot_change_and_a_marker_are_handed_on_as_they_are(constant: object) -> None:
    assert fresh(constant) is constant


@pytest.mark.parametrize(
    ("constant", "inside"),
    [
        ([[]], lambda c: c[0]),
        (([],), lambda c: c[0]),
        (OrderedDict(a=[]), lambda c: c["a"]),
        (defaultdict(list, a=[]), lambda c: c["a"]),
        (SimpleNamespace(items=[]), lambda c: c.items),
        (Slotted([]), lambda c: c.items),
        ({"a": Slotted([])}, lambda c: c["a"].items),
    ],
    ids=lambda given: type(given).__name__,
)
def test_what_can_change_is_copied_inside_as_well(constant: Any, inside: Any) -> None:
    copy = fresh(constant)
    assert type(copy) is type(constant)
    inside(copy).append(1)
    assert inside(constant) == []


def test_parts_that_are_one_object_stay_one_and_cycles_end() -> None:
    shared: list[int] = []
    ring: list[Any] = [shared, shared]
    ring.append(ring)
    copy = fresh(ring)
    assert copy[0] is copy[1]
    assert copy[0] is not shared
    assert copy[2] is copy


@pytest.mark.parametrize("constant", [threading.Lock(), {"client": [threading.Lock()]}, (x for x in ()), threading])
def test_what_cannot_be_copied_is_refused_with_the_right_code(constant: object) -> None:
    for write in (Task(len).or_else, Task(len).__or__):
        with pytest.raises(
            ChainDefinitionError, match=r"`or_else` copies .* write a function that returns it: .or_else"
        ):
            write(constant)
    with pytest.raises(ChainDefinitionError, match=r"`reduce` copies `initial` for each run, .* write a bridge that"):
        reduce(add, constant)


def test_a_path_is_a_constant() -> None:
    assert Task(len).or_else(Path("/"))(0).run().unwrap() == Path("/")


def test_answers_of_scripts_and_models_are_copied_where_they_are_containers() -> None:
    script, model = Script().then({"items": []}).forever(), LatencyModel.constant(0).returning({"items": []})
    for backend in (script, model):
        chain = Task(len).named("f").with_backends({"f": backend}) >> (lambda page: page["items"].append(1) or page)
        assert [chain(0).run(executor="virtual").unwrap() for _ in range(2)] == [{"items": [1]}] * 2
    answer = SimpleNamespace(closed=False)
    assert Task(Script().then(answer))(0).run(executor="virtual").unwrap() is answer
    with pytest.raises(ChainDefinitionError, match="`then` copies a container for each call"):
        Script().then([threading.Lock()])
    with pytest.raises(ChainDefinitionError, match="`returning` copies a container for each call"):
        model.returning([threading.Lock()])
