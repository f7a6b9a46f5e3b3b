"""MkDocs hook: `<!-- draw: page -->` in a page is replaced by the picture of `page`, as its own examples define it.

The examples of the page are run up to there, as its tests run them, so a picture can't show what the code beside it
does not do.
"""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page
from outputs import of_bundle

PART = re.compile(r"^```python\n(?P<code>.*?)^```$|^<!-- draw: (?P<shown>.+?) -->$", re.DOTALL | re.MULTILINE)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - as MkDocs calls it
    """Draw what the page asks for."""
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
