"""What the shop asks its backends, as chains: the part that all applications in this folder share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypedDict

from attrs import frozen

from rio_chain import Backoff, Breaker, Chain, Task, TaskTimedOut


class Product(TypedDict):
    """What the catalogue knows."""

    id: int
    name: str
    maker: str


class Price(TypedDict):
    """What the prices know."""

    cents: int


class Stock(TypedDict):
    """What the stock knows."""

    count: int


class Review(TypedDict):
    """What a customer thinks, from the database."""

    stars: int
    text: str


class Page(TypedDict):
    """What the shop answers. ``stock`` is None where it is not known."""

    id: int
    name: str
    maker: str
    cents: int
    stock: int | None
    reviews: list[Review]


class Missing(LookupError):
    """There is no such product. That is an answer: it is not asked again, and no backend is to blame."""


class BackendDown(Exception):
    """A backend can't be reached, or answered with an error."""


FAULTS = (BackendDown, TaskTimedOut)
"""What is worth another attempt, and what a breaker counts."""
QUICK = Backoff(base=20, cap=200)


@frozen
class Chains:
    """The page, and each part of it by itself, for those who want no more."""

    product: Chain[[int], Product]
    price: Chain[[int], Price]
    stock: Chain[[int], Stock | None]
    reviews: Chain[[int], list[Review]]
    page: Chain[[int], Page]
    breakers: Mapping[str, Breaker]
    """The breaker of each backend."""


def number_of(product: Product) -> int:
    """Bridge: the parts are asked for when it is known that there is such a product."""
    return product["id"]


def render(found: tuple[Price, Stock | None, list[Review]], product: Product) -> Page:
    """Put the page together."""
    price, stock, reviews = found
    return {
        "id": product["id"],
        "name": product["name"],
        "maker": product["maker"],
        "cents": price["cents"],
        "stock": None if stock is None else stock["count"],
        "reviews": reviews,
    }


def breaker(name: str) -> Breaker:
    """One for each backend: five failures in a row open it for two seconds."""
    return Breaker(failures=5, open_for=2_000, on=FAULTS, name=name)


def shop_chains(
    fetch_product: Task[[int], Product],
    fetch_price: Task[[int], Price],
    fetch_stock: Task[[int], Stock],
    read_reviews: Task[[int], list[Review]],
    attempt: float = 300,
) -> Chains:
    """The chains over four functions, which may be sync or async.

    Each attempt has ``attempt`` milliseconds, each backend its breaker, and faults are tried again. A stock that is
    late is asked a second time. Without stock or reviews there is a page all the same; without product or price there
    is none.
    """
    breakers = {name: breaker(name) for name in ("catalogue", "prices", "stock")}
    product = fetch_product.timeout(attempt).breaker(breakers["catalogue"]).retry(2, on=FAULTS, backoff=QUICK)
    price = fetch_price.timeout(attempt).breaker(breakers["prices"]).retry(2, on=FAULTS, backoff=QUICK)
    hedged = fetch_stock.replica(2, after=60).timeout(attempt).breaker(breakers["stock"])
    stock = hedged.retry(2, on=FAULTS, backoff=QUICK).or_else(None)
    reviews = read_reviews.timeout(attempt).or_else([])
    parts = number_of >> (price & stock & reviews)
    page = (product >> parts >> Task(render).inline().using(product=product)).timeout(2_000)
    return Chains(product, price, stock, reviews, page.named("page"), breakers)
