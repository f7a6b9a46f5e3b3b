"""``each(key=)``: what names the items of an ``each`` in a journal, in place of their numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rio_chain._core.units import short_repr
from rio_chain.engine._ask import ask
from rio_chain.engine._journal import root_of
from rio_chain.policies._checks import title

if TYPE_CHECKING:
    from rio_chain.engine._current_run import Strand
    from rio_chain.engine._item_runner import ItemRunner, PendingItem


class ItemKeys:
    """Gives each item its key. An item whose key an earlier one has fails with the whole ``each``.

    Args:
        runner: of the items.
        fn: of the user.
    """

    def __init__(self, runner: ItemRunner, fn: Any) -> None:
        self.fn = fn
        self._lock = runner.lock
        self._numbers: dict[str | int, int] = {}  # of the items that have begun

    async def give(self, strand: Strand, work: PendingItem) -> None:
        """Set the key of an item."""
        work.key = await ask(strand, "key", _Checked(self, work.number), work.item)

    def key_of(self, number: int, item: Any) -> str | int:
        """The key of this item. Called where users' functions are called."""
        key: Any = self.fn(item)
        if type(key) not in (str, int):
            raise TypeError(f"a key of an item must be a str or an int; got {short_repr(key)} for item {number}")
        with self._lock:
            first = self._numbers.setdefault(key, number)
        if first != number:
            both = f"item {first} and item {number}"
            raise ValueError(f"two items have the key {short_repr(key)}: {both}; return another key for each item")
        found: str | int = key
        return found


class _Checked:
    """The function of the user, with the checks of what it returns."""

    def __init__(self, keys: ItemKeys, number: int) -> None:
        self._keys, self._number = keys, number
        self.__name__ = title(keys.fn)

    def __call__(self, item: Any) -> str | int:
        return self._keys.key_of(self._number, item)


def item_keys(runner: ItemRunner) -> ItemKeys | None:
    """The keys of the items, if there is a journal and a function for them."""
    fn = runner.op.node.key
    return None if fn is None or root_of(runner.parent.run).journal is None else ItemKeys(runner, fn)
