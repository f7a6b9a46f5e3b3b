"""Runs the examples in docstrings and in docs/ as tests; the README's are run by tests/test_readme.py."""

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
from sybil.parsers.rest import DocTestParser

pytest_collect_file = (
    Sybil(parsers=[DocTestParser()], patterns=["*.py"], path="rio_chain")
    + Sybil(parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["*.md"], path="docs")
).pytest()
