"""Runs the examples in docstrings and in docs/ as tests; the README's are run by tests/test_readme.py.

Hypothesis looks for new examples on every run but CI's, which tries the same ones each time: what it says is about the
change at hand.
"""

import atexit
import contextlib
import functools
import gc
import os
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import settings
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def missing(module: str) -> bool:
    """For pages: ``<!-- skip: start if(missing("prometheus_client"), reason="needs rio-chain[prometheus]") -->``."""
    try:
        return find_spec(module) is None
    except ModuleNotFoundError:  # the package around it is missing
        return True


@functools.cache
def server_for_pages() -> Any:
    """A PostgreSQL for the pages, until the process ends; None where it is not installed."""
    import postgres  # noqa: PLC0415 - a helper of the tests

    if postgres.programs() is None or (not os.getuid() and postgres.user() is None):
        return None
    server = contextlib.ExitStack()
    atexit.register(server.close)
    return server.enter_context(postgres.cluster())


def no_database() -> bool:
    """For pages that need PostgreSQL: make a database for the page, and say where it is in ``DATABASE_URL``.

    True if PostgreSQL or rio-chain[queue] is not installed: then the page is skipped.
    """
    if missing("procrastinate") or missing("psycopg") or server_for_pages() is None:
        return True
    import psycopg  # noqa: PLC0415 - needs the extra

    name = f"page_{uuid4().hex}"
    with psycopg.connect(server_for_pages().dsn(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    os.environ["DATABASE_URL"] = server_for_pages().dsn(name)
    return False


def give_helpers(namespace: dict[str, Any]) -> None:
    """What the pages may use without an import."""
    namespace["missing"], namespace["no_database"] = missing, no_database


pytest_collect_file = (
    Sybil(parsers=[DocTestParser()], patterns=["*.py"], path="rio_chain")
    + Sybil(parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["*.md"], path="docs", setup=give_helpers)
).pytest()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Ten thousand collected tests stay until the end: the collector need not look at them each time it comes."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Any]:
    """A ``Journal`` in a file of its own."""
    from rio_chain import Journal  # noqa: PLC0415 - only some tests need it

    with Journal(tmp_path / "runs.db") as made:
        yield made
