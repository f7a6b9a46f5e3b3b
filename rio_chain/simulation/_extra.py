"""The extra ``rio-chain[simulate]``: numpy and scipy, for statistics."""

from __future__ import annotations

import importlib


def require_statistics(caller: str) -> None:
    """Refuse a call that needs numpy and scipy if they are not installed.

    Args:
        caller: the name of the called function, such as ``simulate``.

    Raises:
        ImportError: one of them is missing. The text says how to install them.
    """
    try:
        for name in ("numpy", "scipy"):
            importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"`{caller}` needs numpy and scipy: `pip install 'rio-chain[simulate]'`") from error
