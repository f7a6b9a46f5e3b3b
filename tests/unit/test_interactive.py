"""What you see of a chain at a prompt: how it is called, and what can be completed."""

from __future__ import annotations

import inspect
import pydoc
from functools import partial
from typing import Any

import pytest

import rio_chain
from rio_chain import Chain, FanOut, Request, Task, each, star


def fetch(user_id: int, *, lang: str = "en") -> dict[str, Any]:
    return {"id": user_id, "lang": lang}


def other(user_id: int, *, lang: str = "de") -> str:
    return f"{user_id} {lang}"


def by_another_name(key: int) -> str:
    return str(key)


def greet(word: str, user: str) -> str:
    return f"{word}, {user}"


CHAINS: dict[str, tuple[Any, str]] = {
    "task": (Task(fetch), "(user_id, *, lang='en')"),
    "policies": (Task(fetch).timeout(100).retry(3).or_else({}), "(user_id, *, lang='en')"),
    "row": (Task(fetch) >> len >> Task(str), "(user_id, *, lang='en')"),
    "bridge first": (by_another_name >> Task(len), "(key)"),
    "branches alike": (Task(fetch) & Task(other), "(user_id, *, lang='en')"),
    "branches with names of their own": (Task(by_another_name) & Task(lambda user_id: user_id), "(key, /)"),
    "partial": (Task(partial(fetch, lang="fr")), "(user_id, *, lang='fr')"),
    "items": (each(Task(abs), limit=2), "(value, /)"),
    "star": (Task(star(greet)), "(values, /)"),
    "using": (Task(greet).using(user=Task(fetch)), "(value, /, **used)"),
}


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_is_called_as_its_first_function_is(name: str) -> None:
    chain, shown = CHAINS[name]
    signature = inspect.signature(chain)
    bare = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == shown
    assert signature.return_annotation is Request


def test_what_the_signature_takes_the_chain_takes() -> None:
    chain = Task(by_another_name) & Task(lambda user_id: user_id)
    bound = inspect.signature(chain).bind(3)
    assert chain(*bound.args, **bound.kwargs).run().unwrap() == ("3", 3)
    with pytest.raises(TypeError):
        inspect.signature(chain).bind(key=3)


def test_of_a_builtin_that_tells_nothing_there_is_no_signature_of_its_own() -> None:
    assert not hasattr(Task(max), "__signature__")
    assert [p.kind for p in inspect.signature(Task(max)).parameters.values()] == [
        inspect.Parameter.VAR_POSITIONAL,
        inspect.Parameter.VAR_KEYWORD,
    ]


@pytest.mark.parametrize("cls", [Task, Chain, FanOut])
def test_a_class_is_called_as_it_always_was(cls: type) -> None:
    assert not hasattr(cls, "__signature__")
    inspect.signature(cls)


def test_help_speaks_of_the_first_function() -> None:
    assert "Task" in pydoc.render_doc(Task(fetch))


def test_names_of_tasks_are_offered_behind_a_bracket() -> None:
    outcome = (Task(abs) >> Task(str).named("text"))(1).run()
    assert outcome._ipython_key_completions_() == ["abs", "text"]
    assert [outcome[name].name for name in outcome._ipython_key_completions_()] == ["abs", "text"]


def offered_of(thing: object) -> set[str]:
    return {name for name in dir(thing) if not name.startswith("_")}


def test_what_is_offered_of_a_chain_is_what_it_can() -> None:
    offered = offered_of(Task(fetch))
    assert {"retry", "timeout", "explain", "named", "inline"} <= offered
    assert [name for name in offered if not inspect.getdoc(getattr(Task, name, None)) and name != "node"] == []


def test_what_is_offered_of_the_package_is_what_is_public() -> None:
    assert offered_of(rio_chain) == {*rio_chain.__all__, "testing"}
