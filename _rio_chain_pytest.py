"""The pytest plugin of rio_chain: the fixtures ``virtual_time``, ``script`` and ``leak_guard``.

pytest loads it wherever rio_chain is installed, also for tests that don't use it. So it is beside the package
and imports that when a fixture is used: others pay nothing, and what measures coverage sees the package imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from rio_chain.testing import VirtualExecutor
    from rio_chain.testing._scripts import Scripts


@pytest.fixture
def virtual_time(request: pytest.FixtureRequest) -> VirtualExecutor:
    """A VirtualExecutor: ``page(42).run(executor=virtual_time)``, ``Balancer(virtual_time)``. Its clock begins at 0.

    Breakers, limits, caches and the like that were made before the test have seen nothing there. Its seed is 0, or what
    ``@pytest.mark.parametrize("virtual_time", [1, 2], indirect=True)`` says; a dict there has arguments of
    ``VirtualExecutor``, and with ``{"fresh": False}`` the test shares those policies with others.
    """
    from rio_chain.testing import VirtualExecutor  # noqa: PLC0415 - see above

    given: Any = getattr(request, "param", 0)
    arguments: dict[str, Any] = {"fresh": True, **(given if isinstance(given, dict) else {"seed": given})}
    return VirtualExecutor(**arguments)


@pytest.fixture
def script() -> Iterator[Scripts]:
    """Makes Scripts: ``script().then("ada")``. With ``script(all_used=True)`` the test fails if a step is left over."""
    from rio_chain.testing._scripts import Scripts  # noqa: PLC0415 - see above

    scripts = Scripts()
    yield scripts
    scripts.check()


@pytest.fixture
def leak_guard() -> Iterator[None]:
    """Fails a test that leaves a thread or a descriptor behind: ``rio_chain.testing.leak_guard`` around the test."""
    from rio_chain.testing import leak_guard as guard  # noqa: PLC0415 - see above

    with guard():
        yield
