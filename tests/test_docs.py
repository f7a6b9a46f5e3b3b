"""The documentation is complete: every public name, error, policy and event is where one looks it up."""

import importlib.util
import inspect
import json
import re
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest

from rio_chain import errors
from rio_chain.results._events import Event, Kind

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = sorted(DOCS.rglob("*.md"))
PACKAGE = ROOT / "rio_chain"


def rows(page: Path) -> list[list[str]]:
    """The rows of all tables of a page, each a list of cells."""
    lines = (line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| "))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def first_names(page: Path) -> dict[str, list[str]]:
    """The rows of a page by the first name in them."""
    return {found[1]: row for row in rows(page) if (found := re.match(r"[`.\[]*(\w+)", row[0]))}


@pytest.mark.parametrize("module", ["rio_chain", "rio_chain.simulation", "rio_chain.testing"])
def test_every_public_name_is_in_the_reference(module: str) -> None:
    names = importlib.import_module(module).__all__
    reference = (REFERENCE / "api.md").read_text(encoding="utf-8")
    table = {**first_names(REFERENCE / "errors.md"), **first_names(REFERENCE / "api.md")}
    documented = set(re.findall(r"^::: rio_chain[\w.]*\.(\w+)$", reference, re.MULTILINE))
    assert [name for name in names if name not in documented and name not in table and name != "RioError"] == []


def test_the_table_of_errors_says_what_is_retried() -> None:
    table = first_names(REFERENCE / "errors.md")
    for name, row in table.items():
        if len(row) < 5 or row[3] not in ("yes", "no"):
            continue
        first, *others = re.findall(r"`(\w+)`", row[0]) or [name]
        for each in (first, *others):
            error = getattr(errors, each, None)
            if error is not None:
                assert issubclass(error, errors.NEVER_RETRIED) == (row[3] == "no"), each


def test_the_table_of_errors_names_attributes_that_are_there() -> None:
    for name, row in first_names(REFERENCE / "errors.md").items():
        error = getattr(errors, name, None)
        if error is None or len(row) < 5 or row[3] not in ("yes", "no"):
            continue
        for attribute in re.findall(r"`(\w+)`", row[2]):
            assert hasattr(error, attribute) or attribute in inspect.signature(error).parameters, (name, attribute)


def test_the_table_of_policies_has_every_policy_call() -> None:
    from rio_chain.dsl._policy_methods import PolicyMethods  # noqa: PLC0415 - this test alone

    named = re.findall(r"`\.(\w+)\(", (REFERENCE / "policies.md").read_text(encoding="utf-8"))
    calls = {name for name, value in vars(PolicyMethods).items() if callable(value) and not name.startswith("_")}
    assert calls - set(named) == set()


def test_the_table_of_events_has_every_kind_and_field() -> None:
    table = first_names(REFERENCE / "events.md")
    assert [kind for kind in get_args(Kind) if kind not in table] == []
    named = set(re.findall(r"`(\w+)`", (REFERENCE / "events.md").read_text(encoding="utf-8")))
    fields = {field.name for field in Event.__attrs_attrs__}
    assert fields - named == set()


def test_the_page_about_the_inside_names_files_and_functions_that_are_there() -> None:
    page = (DOCS / "explanation/internals.md").read_text(encoding="utf-8")
    files = re.findall(r"`([\w/]*\w\.py|\w+/)`", page)
    assert [name for name in files if not ((PACKAGE / name).exists() or (ROOT / name).exists())] == []
    source = "\n".join(path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py")))
    named = re.findall(r"`(?:\w+\.)?(\w+)`", page.partition("hop by hop")[2])
    assert {"finish", "arm", "slot_came"} <= set(named)
    assert [name for name in named if not re.search(rf"\b{name}\b", source)] == []
    places = re.findall(r"`(?:\w+\.)?(\w+)` in\s+`([\w/]+\.py)`", page)
    assert len(places) > 5
    assert [found for found in places if not re.search(rf"def {found[0]}\b", (PACKAGE / found[1]).read_text())] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_a_page_is_in_the_navigation_and_loads_nothing_from_elsewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert f": {page.relative_to(DOCS).as_posix()}\n" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert re.findall(r"!\[[^]]*\]\(\s*https?:|(?<!<a )\b(?:src|href)=[\"']https?:", text) == []
    assert "```mermaid" not in text  # the theme would fetch what draws it


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_in_the_navigation_and_runs_on_any_kernel(notebook: Path) -> None:
    data = json.loads(notebook.read_text(encoding="utf-8"))
    assert f": tutorials/{notebook.stem}.md\n" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert data["metadata"]["kernelspec"]["name"] == "python3"
    first = "".join(data["cells"][0]["source"])
    assert first.startswith("# ")


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_of_a_notebook_lead_to_files(notebook: Path) -> None:
    text = "\n".join("".join(cell["source"]) for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"])
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert [link for link in links if not (notebook.parent / link).exists()] == []


def loaded(name: str) -> ModuleType:
    """A script of docs_build."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs_build" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_an_example_needs_no_way_around_its_types(page: Path) -> None:
    """``docs_build/typed_examples.py`` runs mypy and pyright over them, in CI."""
    code = loaded("typed_examples").code_of(page)
    assert re.findall(r"\bAny\b|\bcast\(|# *type: *ignore|# *pyright:|# *mypy:", code) == []


def test_the_code_of_a_page_keeps_its_lines(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n```python\na = 1\n```\ntext\n```sh\nls\n```\n- item\n\n  ```py\n  b = 2\n  ```\n"
        "```python title='x.py'\nother\n```\n",
        encoding="utf-8",
    )
    lines = loaded("typed_examples").code_of(page).splitlines()
    assert {number: line for number, line in enumerate(lines, start=1) if line} == {3: "a = 1", 12: "b = 2"}


def test_what_loads_from_elsewhere_is_found(tmp_path: Path) -> None:
    """The check of the built site would be worth nothing if it could not fail."""
    offline = loaded("offline")
    page = tmp_path / "page.html"
    page.write_text('<a href="https://x.org">x</a><link rel="canonical" href="https://x.org"><img src="a.png">')
    assert offline.loads(page) == []
    for bad in (
        '<script src="https://cdn.org/a.js"></script>',
        "<img src='//cdn.org/a.png'>",
        '<link rel="stylesheet" href="https://fonts.org/a.css">',
        "<style>@import 'https://fonts.org/a.css';</style>",
        '<p style="background: url(https://cdn.org/a.png)">',
        '<pre class="mermaid">graph</pre>',
    ):
        page.write_text(bad)
        assert len(offline.loads(page)) == 1, bad
