"""What is known of a function before it is called."""

import functools
import math
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest

from rio_chain import star
from rio_chain._core.signatures import Arity, arity
from rio_chain._core.source_text import name_of
from rio_chain.chain._functions import is_async, written


def plain(a: int, b: int = 2, *, c: int = 3) -> None: ...


def endless(a: int, *rest: int, must: int) -> None: ...


async def coroutine(a: int) -> None: ...


def twice(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any) -> Any:
        return fn(*args)

    return wrapper


class Methods:
    def method(self, a: int) -> None: ...

    async def awaited(self, a: int) -> None: ...

    @classmethod
    def of_class(cls, a: int, b: int) -> None: ...

    @staticmethod
    def free(a: int) -> None: ...


class Callables:
    def __call__(self, a: int) -> None: ...


class AsyncCallables:
    async def __call__(self, a: int) -> None: ...


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (plain, Arity(1, 2)),
        (endless, Arity(1, math.inf, keywords=True)),
        (Methods().method, Arity(1, 1)),
        (Methods.method, Arity(2, 2)),
        (Methods.of_class, Arity(2, 2)),
        (Methods.free, Arity(1, 1)),
        (Callables(), Arity(1, 1)),
        (Callables, Arity(0, 0)),
        (functools.partial(plain, 1), Arity(0, 1)),
        (functools.partial(plain, b=1), Arity(1, 1)),
        (twice(plain), Arity(0, math.inf)),
        (lambda: None, Arity(0, 0)),
        (print, Arity(0, math.inf)),
        (len, Arity(1, 1)),
        (dict, Arity(0, math.inf)),
        (star(plain), Arity(1, 1)),
    ],
)
def test_arity(fn: Callable[..., Any], expected: Arity) -> None:
    assert arity(fn) == expected


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (plain, False),
        (coroutine, True),
        (functools.partial(coroutine, 1), True),
        (functools.partial(functools.partial(coroutine), 1), True),
        (Methods().method, False),
        (Methods().awaited, True),
        (Callables(), False),
        (AsyncCallables(), True),
        (AsyncCallables, False),
        (functools.partial(AsyncCallables()), True),
        (star(coroutine), True),
        (star(plain), False),
        (len, False),
        (AsyncMock(), True),
        (MagicMock(), False),
        (twice(coroutine), False),
    ],
)
def test_is_async(fn: Callable[..., Any], *, expected: bool) -> None:
    assert is_async(fn) is expected


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (plain, "plain"),
        (functools.partial(plain, 1), "plain"),
        (star(functools.partial(plain)), "plain"),
        (Callables(), "Callables"),
        (Methods().method, "method"),
        (lambda: None, "lambda"),
        (int, "int"),
        (MagicMock(), "MagicMock"),
    ],
)
def test_name(fn: Callable[..., Any], name: str) -> None:
    assert name_of(fn) == name


def test_a_name_is_printable_ascii_on_one_line() -> None:
    def hostile() -> None: ...

    hostile.__name__ = 'a\n\x1b[31m"<b>é\u202e'
    assert name_of(hostile) == 'a\\n\\x1b[31m"<b>\\xe9\\u202e'


def test_written_leaves_annotations_out() -> None:
    assert written(plain) == "plain(a, b=2, *, c=3)"
    assert written(print).startswith("print(")
