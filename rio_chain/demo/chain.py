"""The chain of the demo. It is written once; the same object runs on asyncio, on trio and on threads."""

from __future__ import annotations

from rio_chain import Backoff, Task, star
from rio_chain.demo.client import Location, OrderQuery, Orders, Shop, User, fetch_orders, fetch_shops, fetch_user

soon = Backoff(base=5, cap=40)


def order_query(user: User) -> OrderQuery:
    """Bridge: the input of the orders backend."""
    return OrderQuery(user)


def to_location(user: User) -> Location:
    """Bridge: the input of the shops backend."""
    return Location(user.visit, user.town)


def all_in_town(found: list[Shop]) -> bool:
    """Whether the answer fits the question: the backend sometimes sends shops of another town."""
    return all(shop.town == shop.asked for shop in found)


def render(orders: Orders, shops: list[Shop]) -> str:
    """Bridge: the text of the page."""
    who = f"{orders.user.name} from {orders.user.town}"
    nearby = ", ".join(shop.name for shop in shops) or "unknown"
    return f"{who} has {len(orders.euros)} orders for {sum(orders.euros)} euros; shops nearby: {nearby}"


user = Task(fetch_user).timeout(300).retry(2, backoff=soon)  # each call has 300 ms; up to 2 more calls
orders = Task(fetch_orders).timeout(4_000).retry(3, backoff=soon)
shops = Task(fetch_shops).timeout(4_000).retry(1, backoff=soon, accept=all_in_town)

page = (user >> ((order_query >> orders) & (to_location >> shops.or_else([]))) >> star(render)).timeout(10_000)
