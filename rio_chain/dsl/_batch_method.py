"""``.batch``: the policy method whose chain takes another input than the chain to its left."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from attrs import frozen
from returns.result import Result

from rio_chain.chain import _compose, _validation
from rio_chain.chain._compose import Composed
from rio_chain.chain._request import Request
from rio_chain.policies import Batch

if TYPE_CHECKING:
    from rio_chain.dsl._chain import Chain

B = TypeVar("B")
X = TypeVar("X")


@frozen(init=False, repr=False, eq=False)
class BatchMethod(Composed):
    """The method that wraps a chain in a batch."""

    @overload
    def batch(  # type: ignore[misc]  # mypy: no chain in general is called so
        self: Callable[[list[X]], Request[dict[Any, Result[B, Any]]]],  # pyright: ignore[reportGeneralTypeIssues]
        batch: Batch,
        /,
    ) -> Chain[[X], B]: ...
    @overload
    def batch(  # type: ignore[misc]  # mypy: no chain in general is called so
        self: Callable[[list[X]], Request[dict[Any, B]]],  # pyright: ignore[reportGeneralTypeIssues]
        batch: Batch,
        /,
    ) -> Chain[[X], B]: ...
    @overload
    def batch(  # type: ignore[misc]  # mypy: no chain in general is called so
        self: Callable[[list[X]], Request[list[Result[B, Any]]]],  # pyright: ignore[reportGeneralTypeIssues]
        batch: Batch,
        /,
    ) -> Chain[[X], B]: ...
    @overload
    def batch(  # type: ignore[misc]  # mypy: no chain in general is called so
        self: Callable[[list[X]], Request[list[B]]],  # pyright: ignore[reportGeneralTypeIssues]
        batch: Batch,
        /,
    ) -> Chain[[X], B]: ...
    def batch(self: Any, batch: Any, /) -> Any:
        """Join calls that come at the same time into one call of the chain to the left, with a list of their inputs.

        The chain to the left returns a list with one value for each input, in their order, or a dict by input. A value
        may be a ``Result``, and an exception in place of a value is a failure of that one call. Each caller gets its
        own value or error. If the chain returns something else, or too few or too many values, every caller fails with
        ``BatchMismatch``.

        A policy inside, ``.retry(2).batch(b)``, is for the one call. A policy outside, ``.batch(b).retry(2)``, is for
        each caller.

        Raises:
            ChainDefinitionError: ``batch`` is not a ``Batch``, or the chain to the left does not take one value.

        Example:
            >>> from rio_chain import Batch, Task, each
            >>> def fetch_many(ids: list[int]) -> list[str]:
            ...     return [f"user {id}" for id in ids]
            >>> user = Task(fetch_many).batch(Batch(size=50))
            >>> each(user, limit=50)([1, 2]).run().unwrap()
            ['user 1', 'user 2']
            >>> Task(sorted).timeout(200).retry(2).batch(Batch())
            Task(sorted).timeout(200).retry(2).batch(batch)
        """
        return _compose.batched(self._wrapped, self, _validation.shared(batch, Batch, "batch", "Batch()"))
