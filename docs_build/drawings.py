"""MkDocs hook: `<!-- draw: page -->` in a page is replaced by the picture of `page`, as its own examples define it.

The examples of the page are run up to there, as its tests run them, so a picture can't show what the code beside it
does not do. A picture of ours that is kept as a file is put into the page too: as an image it would have the colours of
the system, and not those that the reader has switched the site to.
"""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from outputs import of_bundle

from rio_chain.inspect.pictures._svg_string import scrolled

IMAGE = re.compile(r"^!\[[^]]*\]\((?P<file>[^):]+\.svg)\)$", re.MULTILINE)
PART = re.compile(r"^```python\n(?P<code>.*?)^```$|^<!-- draw: (?P<shown>.+?) -->$", re.DOTALL | re.MULTILINE)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - as MkDocs calls it
    """Draw what the page asks for."""
    folder = Path(config.docs_dir, page.file.src_uri).parent
    markdown = IMAGE.sub(lambda image: inlined(folder / image["file"]) or image[0], markdown)
    if "<!-- draw: " not in markdown:
        return markdown
    names: dict[str, Any] = {"__name__": "docs"}

    def replaced(part: re.Match[str]) -> str:
        if part["code"]:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(part["code"], page.file.src_uri, "exec"), names)  # noqa: S102 - our own page
            return part[0]
        return of_bundle(eval(part["shown"], names)._repr_mimebundle_())  # noqa: S307 - our own page

    return PART.sub(replaced, markdown)


def inlined(file: Path) -> str | None:
    """The picture in a file, if it takes the colours of the page around it."""
    svg = file.read_text(encoding="utf-8") if file.exists() else ""
    return of_bundle({"text/html": scrolled(svg)}) if "--md-default-fg-color" in svg else None
