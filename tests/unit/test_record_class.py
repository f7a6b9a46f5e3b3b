"""``fan_out(Page, user=a, shops=b)``: what it gives, how it is written, and what is refused when it is composed."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, NewType, NotRequired, Protocol, TypedDict

import pytest
from returns.result import Result, Success

from rio_chain import BridgeFailed, ChainDefinitionError, Request, Task, each, fan_out, settle, star

UserId = NewType("UserId", int)


class Sized(Protocol):
    def __len__(self) -> int: ...


@dataclass
class Page:
    user: int
    shops: list[str]
    limit: int = 3
    made: bool = field(default=True, init=False)


class PageTuple(NamedTuple):
    user: int
    shops: list[str]


class PageDict(TypedDict):
    user: int
    shops: list[str]
    limit: NotRequired[int]


class Plain:
    def __init__(self, *, user: int, shops: list[str]) -> None:
        self.given = user, shops


class Open:
    def __init__(self, **given: object) -> None:
        self.given = given


async def length(text: str) -> int:
    return len(text)


def letters(text: str) -> list[str]:
    return list(text)


user, shops = Task(length).retry(1), Task(letters).timeout(1000).or_else([])
NAMES = {name: globals()[name] for name in ("Task", "fan_out", "Page", "PageTuple", "PageDict", "length", "letters")}


@pytest.mark.parametrize(
    ("cls", "value"),
    [
        (Page, Page(2, ["a", "b"])),
        (PageTuple, PageTuple(2, ["a", "b"])),
        (PageDict, {"user": 2, "shops": ["a", "b"]}),
    ],
)
def test_it_gives_an_object_of_the_class(cls: type, value: object) -> None:
    chain = fan_out(cls, user=user, shops=shops)
    got = chain("ab").run().unwrap()
    assert got == value
    assert type(got) is type(value)
    assert chain.timeout(50)("ab").run().unwrap() == value
    assert repr(chain) == f"fan_out({cls.__name__}, user=Task(length).retry(1), shops={shops!r})"
    assert eval(repr(chain), NAMES) == chain  # noqa: S307 - our own text
    assert pickle.loads(pickle.dumps(chain)) == chain  # noqa: S301 - our own bytes
    assert chain != fan_out(user=user, shops=shops)
    assert repr(chain.timeout(5)) == f"{chain!r}.timeout(5)"
    assert repr(Task(str) >> chain >> Task(repr)).splitlines()[2] == f"    >> {chain!r}"


def test_other_classes_with_named_fields_do_as_well() -> None:
    assert fan_out(Plain, user=user, shops=shops)("ab").run().unwrap().given == (2, ["a", "b"])
    assert fan_out(Open, user=user, any_name=user)("ab").run().unwrap().given == {"user": 2, "any_name": 2}


def test_it_is_one_step_of_a_longer_chain() -> None:
    page = fan_out(PageTuple, user=user, shops=shops)

    def about(text: str, page: PageTuple) -> str:
        return f"{text}: {page.user}"

    chain = Task(str.strip) >> page >> (lambda page: "".join(page.shops)) >> Task(about).using(page=page)
    assert chain(" ab ").run().unwrap() == "ab: 2"
    assert [bridge.name for bridge in chain.plan().bridges] == ["PageTuple", "lambda"]


def test_what_the_class_raises_is_the_failure_of_a_bridge_of_its_name() -> None:
    @dataclass
    class Positive:
        user: int

        def __post_init__(self) -> None:
            raise ValueError(self.user)

    error = fan_out(Positive, user=user)("ab").run().error
    assert isinstance(error, BridgeFailed)
    assert str(error).startswith("bridge `Positive` between `length` and `output` failed: ValueError(2)")


@pytest.mark.parametrize(
    ("write", "text"),
    [
        (lambda: fan_out(Page, usr=user, shops=shops), "`Page` has no field 'usr'; its fields are user, shops, limit"),
        (lambda: fan_out(PageDict, usr=user), "`PageDict` has no field 'usr'; its fields are user, shops, limit"),
        (lambda: fan_out(Page, user=user, shops=shops, made=user), "`Page` has no field 'made'"),
        (
            lambda: fan_out(Page, user=user),
            "`fan_out(Page, ...)` gives no value to a field that needs one; add shops=...",
        ),
        (lambda: fan_out(PageDict, limit=user), "to a field that needs one; add user=..., shops=..."),
        (lambda: fan_out(PageTuple, user=user), "to a field that needs one; add shops=..."),
        (
            lambda: fan_out(Page, user=shops, shops=shops),
            "`Page.user` is annotated int, and its branch returns list[str]",
        ),
        (lambda: fan_out(PageDict, user=user, shops=user), "`PageDict.shops` is annotated list[str], and its branch"),
        (lambda: fan_out(Plain, user=shops, shops=shops), "`Plain.user` is annotated int, and its branch returns list"),
        (lambda: fan_out(Page, user=user.or_else(None), shops=shops), "its branch returns NoneType"),
        (lambda: fan_out(Page, user=user | shops, shops=shops), "`Page.user` is annotated int, and its branch returns"),
        (
            lambda: fan_out(Page, user=user & user, shops=shops),
            "`Page.user` is annotated int, and its branch returns t",
        ),
        (lambda: fan_out(Page, user=each(user), shops=shops), "`Page.user` is annotated int, and its branch returns l"),
        (lambda: fan_out(Page), "`fan_out(Page)` needs a branch for each field, as in fan_out(Page, user=user)"),
        (
            lambda: fan_out(Page, user, shops),  # type: ignore[arg-type, call-overload]
            "takes branches by the names of its fields, as in fan_out(Page, user=user); by their order",
        ),
        (
            lambda: fan_out(Page, user=user, shops=shops, need=1),  # type: ignore[arg-type]
            "`need` and `time_limit` give only some of the values, and `Page` needs all of them",
        ),
        (lambda: fan_out(int, user=user), "`fan_out` makes an object of a dataclass, a NamedTuple, a TypedDict or"),
        (
            lambda: fan_out(Page, user=length, shops=shops),  # type: ignore[arg-type]
            "got the function `length`: write Task(length)",
        ),
    ],
)
def test_what_does_not_fit_is_refused_when_it_is_composed(write: Callable[[], Any], text: str) -> None:
    with pytest.raises(ChainDefinitionError, match=re.escape(text)):
        write()


def fits(annotation: Any, fn: Callable[..., Any]) -> bool:
    cls = type("Field", (), {"__init__": lambda self, *, x: None, "__annotations__": {"x": annotation}})
    try:
        fan_out(cls, x=Task(fn))
    except ChainDefinitionError:
        return False
    return True


def returns(annotation: Any) -> Callable[[object], Any]:
    def fn(value: object) -> Any: ...

    fn.__annotations__["return"] = annotation
    return fn


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        (int, int),
        (float, int),
        (object, int),
        (int | None, int),
        (int | None, None),
        (int | str, str | int),
        (Any, int),
        (int, Any),
        (int, UserId),
        (UserId, int),
        (Annotated[int, "ms"], int),
        (Literal["a", "b"], str),
        (Sequence[str], list[str]),
        (list[str], list),
        (tuple[int, ...], tuple[int, int]),
        (Sized, int),  # a Protocol can't be asked
        ("not_there", int),
        (int, Result[int, str]),
        (int, Request[int]),
        (dict[str, int], PageDict),
        (bool, int),  # it may return one
        (type[int], type[int]),
    ],
)
def test_an_annotation_that_may_fit_is_taken(wanted: Any, given: Any) -> None:
    assert fits(wanted, returns(given))


@pytest.mark.parametrize(
    ("wanted", "given"),
    [
        (int, str),
        (int, float),
        (int, int | None),
        (int | None, str),
        (list[int], list[str]),
        (list[str], tuple[str, ...]),
        (dict[str, int], dict[str, str]),
        (UserId, str),
        (Literal["a"], int),
        (str, Result[int, str]),
        (str, Request[int]),
        (int, PageDict),
    ],
)
def test_an_annotation_that_can_not_fit_is_refused(wanted: Any, given: Any) -> None:
    assert not fits(wanted, returns(given))


def test_functions_without_annotations_are_taken() -> None:
    assert fits(int, lambda value: str(value))  # noqa: PLW0108 - it has no annotations
    assert fits(int, len)
    assert not fits(int, str)  # a class returns an object of it


def test_a_tuple_is_spread_over_the_fields() -> None:
    assert ((user & shops) >> star(Page))("ab").run().unwrap() == Page(2, ["a", "b"])
    assert fan_out(Open, both=settle(user))("a").run().unwrap().given == {"both": (Success(1),)}
