"""Functions whose annotations can't be evaluated are used as any others, and checked as well."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import pytest

from rio_chain import Chain, ChainDefinitionError, Task, choose, each, first, reduce, when
from rio_chain._core.signatures import signature_of

if TYPE_CHECKING:
    from nowhere import Missing

EXECUTORS = ("asyncio", "trio", "thread", "virtual")


class Lazy(dict[str, Any]):
    """The annotations of Python 3.14: they are evaluated when somebody looks at them, and a name is not there."""

    def __init__(self, error: Exception) -> None:
        super().__init__(user_id=int)
        self.error = error

    def keys(self) -> Any:
        raise self.error

    def __iter__(self) -> Iterator[str]:
        raise self.error

    items = get = __getitem__ = values = keys


ERRORS = [NameError("name 'Missing' is not defined"), TypeError("unsupported operand"), AttributeError("no Missing")]


def fetch(user_id: Missing, verbose: Missing = False, *, limit: Missing = 3) -> Missing:
    return (user_id, verbose, limit)


async def afetch(user_id: Missing, verbose: Missing = False, *, limit: Missing = 3) -> Missing:
    return (user_id, verbose, limit)


class Client:
    def __init__(self, user_id: Missing, verbose: Missing = False, *, limit: Missing = 3) -> None:
        self.got = (user_id, verbose, limit)

    def method(self, user_id: Missing, verbose: Missing = False, *, limit: Missing = 3) -> Missing:
        return (user_id, verbose, limit)

    def __call__(self, user_id: Missing, verbose: Missing = False, *, limit: Missing = 3) -> Missing:
        return (user_id, verbose, limit)

    @classmethod
    def of_class(cls, user_id: Missing, verbose: Missing = False, *, limit: Missing = 3) -> Missing:
        return (user_id, verbose, limit)


class Described(Client):
    """One that gives its signature itself, and can't."""

    @property
    def __signature__(self) -> inspect.Signature:
        raise NameError("name 'Missing' is not defined")


def decorated(fn: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(fn)
    def wrapper(user_id: Missing, verbose: Missing = False, *, limit: Missing = 3) -> Missing:
        return fn(user_id, verbose, limit=limit)

    return wrapper


def before(_: Missing, user_id: Missing, verbose: Missing = False, *, limit: Missing = 3) -> Missing:
    return (user_id, verbose, limit)


KINDS: dict[str, Callable[[], Any]] = {
    "function": lambda: fetch,
    "async": lambda: afetch,
    "method": lambda: Client(1).method,
    "of a class": lambda: Client.of_class,
    "class": lambda: Client,
    "object": lambda: Client(1),
    "described": lambda: Described(1),
    "partial": lambda: partial(before, None),
    "decorated": lambda: decorated(fetch),
}


@pytest.fixture(params=ERRORS, ids=lambda error: type(error).__name__)
def lazily(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All annotations of this file raise when somebody looks at them."""
    for owner in (globals(), vars(Client)):
        for value in list(owner.values()):
            fn = value.__func__ if isinstance(value, classmethod) else value
            if inspect.isfunction(fn) and fn.__module__ == __name__:
                monkeypatch.setattr(fn, "__annotations__", Lazy(request.param))


@pytest.mark.usefixtures("lazily")
@pytest.mark.parametrize("kind", KINDS)
def test_the_parameters_are_known_all_the_same(kind: str) -> None:
    fn = KINDS[kind]()
    signature = signature_of(fn)
    assert signature is not None
    assert [(p.name, p.kind.name, p.default) for p in signature.parameters.values()] == [
        ("user_id", "POSITIONAL_OR_KEYWORD", inspect.Parameter.empty),
        ("verbose", "POSITIONAL_OR_KEYWORD", False),
        ("limit", "KEYWORD_ONLY", 3),
    ]


@pytest.mark.usefixtures("lazily")
@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_call_is_refused_with_the_parameters(kind: str) -> None:
    with pytest.raises(ChainDefinitionError, match=r"begins with `.*\(user_id, verbose=False, \*, limit=3\)"):
        Task(KINDS[kind]())(1, 2, 3)
    with pytest.raises(ChainDefinitionError, match=r"takes no keyword argument `nobody`"):
        Task(KINDS[kind]()).using(nobody=Task(len))


def test_annotations_are_kept_where_they_can_be_evaluated() -> None:
    signature = signature_of(fetch)
    assert signature is not None
    assert signature.parameters["user_id"].annotation == "Missing"


def test_of_what_is_not_written_in_python_no_signature_is_invented() -> None:
    class Refuses:
        __signature__ = "none"
        __call__ = len

    assert signature_of(max) is None
    assert signature_of(partial(max)) is None
    assert signature_of(Refuses()) is None


# --- a chain of such functions ----------------------------------------------------------------------------------


def double(x: Missing) -> Missing:
    return x * 2


async def increase(x: Missing) -> Missing:
    return x + 1


def is_positive(x: Missing) -> Missing:
    return x > 0


def combine(pair: Missing, *, head: Missing) -> Missing:
    return [*pair, head]


def add(a: Missing, b: Missing) -> Missing:
    return a + b


def show_error(error: Missing) -> Missing:
    return repr(error)


def chain_of_them() -> Chain[..., Any]:
    head = Task(double)
    pair = head >> (Task(increase).retry(2, accept=is_positive) & Task(double).accept(is_positive))
    total = pair >> Task(combine).using(head=head) >> each(Task(increase)) >> reduce(add)
    return (total >> choose(when(is_positive, Task(double)), otherwise=Task(increase))).or_else(show_error)


@pytest.mark.usefixtures("lazily")
@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_chain_of_them_runs(executor: str) -> None:
    doubled = 3 * 2
    added = sum(value + 1 for value in (doubled + 1, doubled * 2, doubled))
    assert chain_of_them()(3).run(executor=executor).unwrap() == added * 2


@pytest.mark.usefixtures("lazily")
def test_a_chain_of_them_can_be_looked_at() -> None:
    chain = chain_of_them()
    assert "increase" in chain.explain()
    assert "combine" in repr(chain)
    assert "is_positive" in chain.mermaid()
    assert "double" in str(chain.svg())
    assert chain.lint() == chain_of_them().lint()
    assert chain.bounds().calls is not None
    assert [*inspect.signature(chain).parameters] == ["x"]


@pytest.mark.usefixtures("lazily")
def test_a_function_of_the_wrong_arity_is_refused() -> None:
    with pytest.raises(ChainDefinitionError, match=r"`add\(a, b\)` can't be called as `increase` is"):
        Task(increase).with_backends({"increase": add})
    with pytest.raises(ChainDefinitionError, match=r"`add\(a, b\)` can't be called with just one argument"):
        Task(double).accept(add)
    with pytest.raises(ChainDefinitionError, match="`add` can't be called with just one argument"):
        first(accept=add)
