"""A Task of a method in the body of its class is refused when the class is made; other Tasks are attributes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from rio_chain import Chain, ChainDefinitionError, Task

RIGHT = (
    "`fetch` is a method of `Repo`, and in the body of the class there is no `self` to call it with; "
    "name the method `_fetch` and write `self.fetch = Task(self._fetch)` in `__init__`"
)


def guarded(fn: Callable[..., Any]) -> Chain[..., Any]:
    return Task(fn).timeout(100)


def length(text: str) -> int:
    return len(text)


def test_a_decorated_method() -> None:
    with pytest.raises(ChainDefinitionError) as caught:

        class Repo:
            @Task
            async def fetch(self, user_id: int) -> int:
                return user_id

    assert str(caught.value) == RIGHT


def test_a_method_further_down_in_the_class() -> None:
    with pytest.raises(ChainDefinitionError, match=r"^`_fetch` is a method of `Repo`.*`self.fetch = Task\(self._fetch"):

        class Repo:
            def _fetch(self, user_id: int) -> int:
                return user_id

            fetch = Task(_fetch).timeout(100) >> Task(str)


def test_a_decorator_of_the_users_that_makes_a_task() -> None:
    kinds = (ChainDefinitionError, RuntimeError) if sys.version_info < (3, 12) else ChainDefinitionError
    with pytest.raises(kinds) as caught:  # Python 3.11 puts an error of its own around it

        class Repo:
            @guarded
            def fetch(self, user_id: int) -> int:
                return user_id

    assert str(caught.value.__cause__ or caught.value) == RIGHT


def test_the_right_code_and_tasks_of_other_functions() -> None:
    class Repo:
        size = Task(length)
        sizes = Task(str.strip) >> Task(length)
        shout = Task(lambda text: text.upper())

        @Task
        @staticmethod
        def double(number: int) -> int:
            return 2 * number

        def __init__(self, base: int) -> None:
            self.base = base
            self.fetch = Task(self._fetch)

        def _fetch(self, user_id: int) -> int:
            return self.base + user_id

    repo = Repo(40)
    assert repo.fetch(2).run().value == 42
    assert (repo.size("ab").run().value, repo.sizes(" ab ").run().value) == (2, 2)
    assert (repo.shout("ab").run().value, Repo.double(4).run().value) == ("AB", 8)


def test_a_method_of_another_class() -> None:
    class Repo:
        def fetch(self, user_id: int = 1) -> int:
            return user_id

    class Other:
        fetch = Task(Repo.fetch)

    assert Other.fetch(Repo(), 2).run().value == 2
    assert Task(Repo.fetch)(Repo(), 3).run().value == 3
