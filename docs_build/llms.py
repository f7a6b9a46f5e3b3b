"""MkDocs hook: the documentation as plain text, for readers that are programs.

`llms.txt` lists the pages with what each is about, `llms-full.txt` holds them all, and each page is there as Markdown
under its own name. The reference is written out: a reader that can't import the package gets nothing from `::: name`.
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.nav import Navigation, Section
from mkdocs.structure.pages import Page

DIRECTIVE = re.compile(r"^::: (?P<name>[\w.]+)\n(?:    .*\n?)*", re.MULTILINE)

sections: list[tuple[str, list[Page]]] = []
texts: dict[str, str] = {}  # by the path of the source


def on_nav(nav: Navigation, config: MkDocsConfig, files: Files) -> None:  # noqa: ARG001 - as MkDocs calls it
    """Note the order of the pages."""
    sections[:] = [(item.title, pages(item)) for item in nav.items if isinstance(item, Section)]


def pages(section: Section) -> list[Page]:
    """All pages below a section."""
    return [page for item in section.children for page in (pages(item) if isinstance(item, Section) else [item])]


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> None:  # noqa: ARG001
    """Note the text of a page. This hook runs first, so the pictures are not in it yet."""
    texts[page.file.src_uri] = DIRECTIVE.sub(lambda found: written_out(found["name"]), markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Write the files."""
    site = Path(config.site_dir)
    for source, text in texts.items():
        (site / source).parent.mkdir(parents=True, exist_ok=True)
        (site / source).write_text(text, encoding="utf-8")
    lines = [f"# {config.site_name}", "", f"> {config.site_description}"]
    for title, held in sections:
        lines += ["", f"## {title}", ""]
        lines += [f"- [{page.title}]({page.file.src_uri}): {about(texts[page.file.src_uri])}" for page in held]
    (site / "llms.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
    whole = [texts["index.md"], *(texts[page.file.src_uri] for _, held in sections for page in held)]
    (site / "llms-full.txt").write_text("\n\n".join(whole), encoding="utf-8")


def about(text: str) -> str:
    """The first sentence of a page."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    paragraphs = [part for part in prose.split("\n\n") if part.strip() and part.strip()[0] not in "#!|<:"]
    return re.split(r"(?<=\.)\s|:$", " ".join(paragraphs[0].split()))[0] if paragraphs else ""


def written_out(name: str) -> str:
    """A public name with its signature, its docstring and its methods."""
    module, _, attribute = name.rpartition(".")
    value = getattr(importlib.import_module(module), attribute)
    methods = vars(value).items() if inspect.isclass(value) else ()
    public = [(key, method) for key, method in methods if not key.startswith("_") and inspect.getdoc(method)]
    return "\n".join([entry(f"### {name}", value), *(entry(f"#### {key}", method) for key, method in public)])


def entry(heading: str, value: object) -> str:
    """One name."""
    try:
        signature = str(inspect.signature(value)) if callable(value) else ""
    except ValueError:
        signature = ""
    return f"{heading}{signature}\n\n{inspect.getdoc(value)}\n"
