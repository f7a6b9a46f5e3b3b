"""The packages of the extras. An adapter can be imported without them; only making it asks for them."""

from __future__ import annotations

from importlib.util import find_spec


def require(module: str, package: str, extra: str, caller: str) -> None:
    """Refuse a call that needs a package where that is not installed.

    Args:
        module: what is imported, as ``prometheus_client``.
        package: what is installed, as ``prometheus-client``.
        extra: which extra of rio-chain has it.
        caller: what is called, as ``PrometheusObserver``.

    Raises:
        ImportError: it is missing. The text says how to install it.
    """
    try:
        found = find_spec(module) is not None
    except ModuleNotFoundError:  # the package around the module is missing
        found = False
    if not found:
        raise ImportError(f"`{caller}` needs {package}: `pip install 'rio-chain[{extra}]'`", name=module)
