"""One cluster of two worker processes for all of these tests, and a balancer on it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rio_chain import Balancer, DaskExecutor


@pytest.fixture(scope="session")
def distributed() -> Any:
    """The package. Tests that need it are skipped without it."""
    return pytest.importorskip("distributed", reason="needs the extra dask")


@pytest.fixture(scope="session")
def cluster(distributed: Any) -> Iterator[Any]:
    with distributed.LocalCluster(n_workers=2, threads_per_worker=8, dashboard_address="127.0.0.1:0") as made:
        yield made


@pytest.fixture(scope="session")
def address(cluster: Any) -> str:
    return str(cluster.scheduler_address)


@pytest.fixture(scope="session")
def balancer(address: str) -> Iterator[Balancer]:
    with Balancer(DaskExecutor(address), workers=20) as made:
        yield made
