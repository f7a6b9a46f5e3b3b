"""The arguments that a chain takes, and the check of a call before anything runs."""

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
    """The arguments that a chain takes. All of its first functions get the same arguments."""

    heads: tuple[Head, ...]
    least: int
    most: float
    keywords: bool

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Check arguments in the same way as the call itself would.

        Raises:
            ChainDefinitionError: they don't fit. The text names the function and its parameters.
        """
        for head in self.heads:
            if isinstance(head, Handler):
                self._bind_handler(head, args, kwargs)
                continue
            if not isinstance(head, (TaskNode, Bridge)):
                if len(args) != 1 or kwargs:
                    got = f"{len(args)} positional" + "".join(f", {escape_nonprintable(key)}=" for key in kwargs)
                    raise ChainDefinitionError(
                        f"this chain begins with `{begins(head)}`, which takes one value; got {got}"
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
                    f"this chain begins with `{written(head.fn)}`, which can't be called with these arguments: "
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
                f"`or_else` calls `{written(handler.fn)}` with the error and the arguments of the chain, which it does "
                f"not take: {escape_nonprintable(str(error))}; got {got}"
            ) from None

    def signature(self) -> inspect.Signature | None:
        """The signature of the chain, as ``inspect.signature`` reports it; None if Python knows none."""
        several = [_signature_of_head(head) for head in self.heads]
        first = several[0]
        if first is None:
            return None
        if all(other is not None and [*other.parameters] == [*first.parameters] for other in several):
            return first
        # the branches name the parameter differently, so it can't be given by name
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
    """The ChainSignature of a chain that begins with these nodes."""
    all_of = [_arity_of_head(head) for head in found]
    least, most = max(a.least for a in all_of), min(a.most for a in all_of)
    return ChainSignature(found, least, most, any(a.keywords for a in all_of))


def _arity_of_head(head: Head) -> Arity:
    if isinstance(head, Handler):
        accepts = arity(head.fn)
        return Arity(max(0, accepts.least - 1), accepts.most - 1, accepts.keywords)
    return arity(head.fn) if isinstance(head, (TaskNode, Bridge)) else ONE


def begins(head: Head) -> str:
    """What a chain begins with, and its parameters, for messages."""
    if isinstance(head, (TaskNode, Bridge, Handler)):
        return written(head.fn)
    return f"{head.policy.builder_call if isinstance(head, Scope) else type(head).__name__.lower()}(...)"


def gets_input(fn: Callable[..., Any], primary: ChainSignature) -> bool:
    """Whether a fallback needs more than the error: then it also gets the arguments of the primary.

    Raises:
        ChainDefinitionError: it takes neither the error alone nor the error and those arguments.
    """
    accepts = arity(fn)
    if accepts.takes(1):
        return False
    least, most = max(primary.least, accepts.least - 1, 1), min(primary.most, accepts.most - 1)
    if primary.keywords or (least <= most and not accepts.keywords):
        return True
    name = name_of(fn) if name_of(fn).isidentifier() and name_of(fn) != "lambda" else "instead"
    raise ChainDefinitionError(
        f"`or_else` calls a function with the error, or with the error and the input, and `{written(fn)}` takes "
        f"neither: write def {name}(error) or def {name}(error, value)"
    )
