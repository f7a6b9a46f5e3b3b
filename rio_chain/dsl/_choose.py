"""choose and when: the value selects one of several chains."""

from __future__ import annotations

from collections.abc import Callable
from types import UnionType
from typing import Any, Generic, TypeGuard, TypeVar, cast, get_args, get_origin, overload

from attrs import frozen

from rio_chain._core.source_text import name_of
from rio_chain._core.units import short_repr
from rio_chain.chain._compose import branches, made, one_value
from rio_chain.chain._nodes import Choose
from rio_chain.chain._request import Request
from rio_chain.chain._validation import predicate
from rio_chain.dsl._chain import Chain
from rio_chain.errors import ChainDefinitionError

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
X = TypeVar("X")
Y = TypeVar("Y")
In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)


@frozen
class When(Generic[In, Out]):
    """The result of ``when``: one branch of a ``choose``."""

    test: Any
    chain: Callable[[Any], Request[Out]]


@overload
def when(test: type[Y], chain: Callable[[Y], Request[A]], /) -> When[object, A]: ...
@overload
def when(test: tuple[type[Any], ...], chain: Callable[[Any], Request[A]], /) -> When[object, A]: ...
@overload
def when(test: Callable[[X], object], chain: Callable[[X], Request[A]], /) -> When[X, A]: ...
@overload
def when(test: Callable[[X], TypeGuard[Y]], chain: Callable[[Y], Request[A]], /) -> When[X, A]: ...
def when(test: Any, chain: Any, /) -> Any:
    """One branch of ``choose``.

    Args:
        test: a function of the value that returns True or False; or a class, or a tuple of classes, of which the value
            must be an instance.
        chain: the Task or Chain that gets the value if the test is true.

    Raises:
        ChainDefinitionError: the test or the chain is not valid.
    """
    if get_origin(test) is not None:  # a call of list[int] makes a list, which is nearly always true
        write = f"({', '.join(map(name_of, get_args(test)))})" if isinstance(test, UnionType) else "the class alone"
        raise ChainDefinitionError(f"`when` can't test for {short_repr(test)}; write {write}, or a function")
    if isinstance(test, tuple):
        classes = cast("tuple[object, ...]", test)
        if not classes or not all(isinstance(cls, type) for cls in classes):
            raise ChainDefinitionError(
                f"`when` takes a function of the value, a class, or a tuple of classes; got {short_repr(classes)}"
            )
    elif not isinstance(test, type):
        predicate(test, "when")
    one_value(chain, "`when`")
    return When[Any, Any](test, chain)


@overload
def choose(a: When[X, A], /, *, otherwise: Callable[[X], Request[B]]) -> Chain[[X], A | B]: ...
@overload
def choose(a: When[X, A], b: When[X, B], /, *, otherwise: Callable[[X], Request[C]]) -> Chain[[X], A | B | C]: ...
@overload
def choose(
    a: When[X, A], b: When[X, B], c: When[X, C], /, *, otherwise: Callable[[X], Request[D]]
) -> Chain[[X], A | B | C | D]: ...
@overload
def choose(
    a: When[X, A], b: When[X, B], c: When[X, C], d: When[X, D], /, *, otherwise: Callable[[X], Request[E]]
) -> Chain[[X], A | B | C | D | E]: ...
@overload
def choose(a: When[X, A], /) -> Chain[[X], A]: ...
@overload
def choose(a: When[X, A], b: When[X, B], /) -> Chain[[X], A | B]: ...
@overload
def choose(a: When[X, A], b: When[X, B], c: When[X, C], /) -> Chain[[X], A | B | C]: ...
@overload
def choose(a: When[X, A], b: When[X, B], c: When[X, C], d: When[X, D], /) -> Chain[[X], A | B | C | D]: ...
@overload
def choose(*whens: When[X, A], otherwise: Callable[[X], Request[A]] = ...) -> Chain[[X], A]: ...
def choose(*whens: Any, otherwise: Any = None) -> Any:
    """Pass the value to the chain of the first ``when`` whose test is true. The other chains are ``skipped``.

    Args:
        whens: ``when(test, chain)``. They are tried in order.
        otherwise: the chain for all other values. Without it, the run fails if no test is true.

    Raises:
        ChainDefinitionError: there is no ``when``, or an argument is not a ``when``.

    Example:
        >>> from rio_chain import Task, choose, when
        >>> shown = choose(when(str, Task(len)), when(lambda n: n > 9, Task(str)), otherwise=Task(float))
        >>> [shown(value).run().unwrap() for value in ("four", 42, 7)]
        [4, '42', 7.0]
    """
    if not whens:
        raise ChainDefinitionError("`choose` needs at least one when(test, chain); got none")
    tests: list[Any] = []
    chains: list[Any] = []
    for one in whens:
        if not isinstance(one, When):
            raise ChainDefinitionError(f"`choose` takes when(test, chain), and otherwise=chain; got {short_repr(one)}")
        tests.append(one.test)
        chains.append(one.chain)
    if otherwise is not None:
        one_value(otherwise, "`otherwise`")
        chains.append(otherwise)
    nodes, names = branches(tuple(chains), "`choose`")
    return made(Chain, Choose(tuple(tests), nodes), names)
