"""The public names and their signatures. A change shows in public_api.txt, the changelog and the documentation."""

import inspect
import subprocess
import sys

import pytest
from public_api import PINNED, described

import rio_chain

PUBLIC = sorted(rio_chain.__all__)


def test_the_public_names_and_their_signatures_are_those_we_know() -> None:
    wanted = "if you want this change, run `python tests/public_api.py` and write a line in CHANGELOG.md"
    assert described().splitlines() == PINNED.read_text(encoding="utf-8").splitlines(), wanted


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(rio_chain, name))


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_method_is_documented(name: str) -> None:
    public = getattr(rio_chain, name)
    if not inspect.isclass(public) or not public.__module__.startswith("rio_chain"):
        return
    own = {key: value for key, value in vars(public).items() if not key.startswith("_")}
    assert [key for key, value in own.items() if callable(value) and not inspect.getdoc(value)] == []


def test_dir_shows_the_public_names() -> None:
    assert set(PUBLIC) <= set(dir(rio_chain))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = rio_chain.no_such_name


def test_importing_the_package_imports_no_executor() -> None:
    code = "import sys, rio_chain; print(sorted({'trio', 'httpx2', 'rio_chain.executors._asyncio'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
