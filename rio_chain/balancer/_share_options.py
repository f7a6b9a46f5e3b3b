"""The checks of ``fair=``, ``shed=`` and ``tenant=``."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, cast

from rio_chain._core.units import number, short_repr
from rio_chain.errors import CallbackFailed, ChainDefinitionError
from rio_chain.policies._checks import callback, title
from rio_chain.policies._keys import hashed

if TYPE_CHECKING:
    from rio_chain.balancer._managed_admission import Shed
    from rio_chain.chain._request import Request


def checked_weights(fair: object, aging: object) -> Mapping[Hashable, float] | None:
    """Read ``fair=``: the weights of tenants; None if the slots are not shared fairly.

    Raises:
        ChainDefinitionError: it is neither a bool nor a mapping of numbers above 0; or ``aging`` is given, too.
    """
    if fair is False:
        return None
    rule = "`fair` must be True, or a dict from a tenant to its weight, as in fair={'gold': 3}"
    if fair is not True and not isinstance(fair, Mapping):
        raise ChainDefinitionError(f"{rule}; got {short_repr(fair)}")
    if aging is not None:
        raise ChainDefinitionError(
            "`fair` and `aging` contradict each other: with `aging` the request that has waited longest goes first, "
            "whose tenant is often the one with the most requests; leave one of them out"
        )
    weights: dict[Hashable, float] = {}
    for tenant, weight in () if fair is True else cast("Mapping[Hashable, object]", fair).items():
        weights[hashed(tenant)] = number(weight, f"fair[{short_repr(tenant)}]", above=0)
    return weights


def checked_shed(shed: object) -> Shed | None:
    """Read ``shed=``."""
    if shed is None or (isinstance(shed, str) and shed in ("lowest", "oldest")):
        return cast("Shed | None", shed)
    rule = "'lowest', 'oldest', or a function of the Request that returns what it is worth, a number"
    return callback(shed, "shed", rule)


def hashable_tenant(tenant: Hashable) -> Hashable:
    """A tenant in the form that the queue stores."""
    try:
        return hashed(tenant)
    except TypeError:
        raise ChainDefinitionError(
            f"`tenant` must be hashable, such as a str or a number; got {short_repr(tenant)}"
        ) from None


def worth_of(shed: Callable[[Request[Any]], Any], request: Request[Any]) -> float:
    """What a request is worth.

    Raises:
        CallbackFailed: the function raised, or returned no finite number.
    """
    try:
        return number(shed(request), "worth")
    except ChainDefinitionError as error:
        wrong = ValueError(str(error).replace("`worth`", "what a request is worth"))
        raise CallbackFailed("shed", title(shed), wrong) from None
    except Exception as error:  # noqa: BLE001 - the user's
        raise CallbackFailed("shed", title(shed), error) from None
