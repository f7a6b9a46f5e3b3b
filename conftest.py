"""Runs the examples in docstrings and in docs/ as tests; the README's are run by tests/test_readme.py.

Hypothesis looks for new examples on every run but CI's, which tries the same ones each time: what it says is about the
change at hand.
"""

import atexit
import contextlib
import functools
import gc
import os
from collections.abc import Generator
from importlib.util import find_spec
from typing import Any

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
def no_database() -> bool:
    """For pages that need PostgreSQL: start one for the examples, and say where it is in ``DATABASE_URL``.

    True if it is not installed here, or rio-chain[queue] is not: then the page is skipped.
    """
    if missing("procrastinate") or missing("psycopg"):
        return True
    import postgres  # noqa: PLC0415 - a helper of the tests

    if postgres.programs() is None or (not os.getuid() and postgres.user() is None):
        return True
    server = contextlib.ExitStack()
    os.environ["DATABASE_URL"] = server.enter_context(postgres.cluster()).dsn()
    atexit.register(server.close)
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
