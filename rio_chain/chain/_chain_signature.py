"""How a chain is called: what its first functions take, and the check of a call before anything runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from attrs import frozen

from rio_chain._core.signatures import ONE, Arity, arity, signature_of
from rio_chain._core.source_text import name_of
from rio_chain._core.units import escape_nonprintable
from rio_chain.chain._functions import written
from rio_chain.chain._nodes import Bridge, Handler, Head, Scope, TaskNode
from rio_chain.errors import ChainDefinitionError


@frozen
class ChainSignature:
    """How a chain is called: what its first functions take, all of which get the same arguments."""

    heads: tuple[Head, ...]
    least: int
    most: float
    keywords: bool

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Check arguments as the call itself would.

        Raises:
            ChainDefinitionError: they don't fit; the text names the function and its parameters.
        """
        for head in self.heads:
            if isinstance(head, Handler):
                self._bind_handler(head, args, kwargs)
                continue
            if not isinstance(head, (TaskNode, Bridge)):
                if len(args) != 1 or kwargs:
                    got = f"{len(args)} positional" + "".join(f", {escape_nonprintable(key)}=" for key in kwargs)
                    raise ChainDefinitionError(
                        f"`{begins(head)}` is where this chain begins: it takes one value; got {got}"
                    )
                continue
            signature = signature_of(head.fn)
            if signature is None:
                continue
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                got = f"{len(args)} positional" + "".join(f", {escape_nonprintable(key)}=" for key in kwargs)
                raise ChainDefinitionError(
                    f"`{written(head.fn)}` is where this chain begins, and it can't be called like that: "
                    f"{escape_nonprintable(str(error))}; got {got}"
                ) from None

    def _bind_handler(self, handler: Handler, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        signature = signature_of(handler.fn)
        try:
            if signature is not None:
                signature.bind(None, *args, **kwargs)  # None: the error
        except TypeError as error:
            got = f"{len(args)} positional" + "".join(f", {escape_nonprintable(key)}=" for key in kwargs)
            raise ChainDefinitionError(
                f"`or_else` hands `{written(handler.fn)}` the error and the arguments of the chain, and it can't be "
                f"called with these: {escape_nonprintable(str(error))}; got {got}"
            ) from None

    def signature(self) -> inspect.Signature | None:
        """How it is called, for who looks before calling; None where Python knows no signature."""
        several = [_signature_of_head(head) for head in self.heads]
        first = several[0]
        if first is None:
            return None
        if all(other is not None and [*other.parameters] == [*first.parameters] for other in several):
            return first
        # branches that call the value by different names: only its place counts
        return first.replace(parameters=[_by_place(parameter) for parameter in first.parameters.values()])


def _signature_of_head(head: Head) -> inspect.Signature | None:
    if isinstance(head, (TaskNode, Bridge)):
        return signature_of(head.fn)
    if isinstance(head, Handler):
        found = signature_of(head.fn)
        after_the_error = [] if found is None else [*found.parameters.values()][1:]
        return None if found is None else found.replace(parameters=after_the_error)
    return inspect.Signature([inspect.Parameter("value", inspect.Parameter.POSITIONAL_ONLY)])


def _by_place(parameter: inspect.Parameter) -> inspect.Parameter:
    named = parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    return parameter.replace(kind=parameter.POSITIONAL_ONLY) if named else parameter


def signature_of_heads(found: tuple[Head, ...]) -> ChainSignature:
    """The ChainSignature of a chain that begins with these."""
    all_of = [_arity_of_head(head) for head in found]
    least, most = max(a.least for a in all_of), min(a.most for a in all_of)
    return ChainSignature(found, least, most, any(a.keywords for a in all_of))


def _arity_of_head(head: Head) -> Arity:
    if isinstance(head, Handler):
        accepts = arity(head.fn)
        return Arity(max(0, accepts.least - 1), accepts.most - 1, accepts.keywords)
    return arity(head.fn) if isinstance(head, (TaskNode, Bridge)) else ONE


def begins(head: Head) -> str:
    """What a chain begins with, and what that takes, for messages."""
    if isinstance(head, (TaskNode, Bridge, Handler)):
        return written(head.fn)
    return f"{head.policy.builder_call if isinstance(head, Scope) else type(head).__name__.lower()}(...)"


def gets_input(fn: Callable[..., Any], primary: ChainSignature) -> bool:
    """Whether a fallback needs more than the error: what the primary is called with, after the error.

    Raises:
        ChainDefinitionError: it can't be called with the error alone, nor with both.
    """
    accepts = arity(fn)
    if accepts.takes(1):
        return False
    least, most = max(primary.least, accepts.least - 1, 1), min(primary.most, accepts.most - 1)
    if primary.keywords or (least <= most and not accepts.keywords):
        return True
    name = name_of(fn) if name_of(fn).isidentifier() and name_of(fn) != "lambda" else "instead"
    raise ChainDefinitionError(
        f"`or_else` hands a function the error, and `{written(fn)}` can't be called with that alone, nor with the "
        f"error and the input: write def {name}(error) or def {name}(error, value)"
    )
