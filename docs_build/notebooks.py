"""MkDocs hook: each notebook of notebooks/ is executed and becomes a page of the tutorials, with what its cells gave.

The page is Markdown like any other, so it has the site's colours, its search and its checked links, and needs no
script. What a notebook gave is kept, and executed again when the notebook or the package has changed.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbclient import NotebookClient
from outputs import of_bundle, of_text, restored

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"
CACHE = ROOT / ".cache" / "notebooks"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for each notebook, and the notebook itself to be taken along."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        page = f"tutorials/{path.stem}.md"
        files.append(File.generated(config, page, content=to_markdown(executed(path), path.name)))
        files.append(File.generated(config, f"tutorials/{path.name}", abs_src_path=str(path)))
    return files


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - as MkDocs calls it
    """Put the outputs in."""
    return restored(content)


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs, from the cache if nothing has changed."""
    kept = CACHE / f"{path.stem}-{fingerprint(path)}.ipynb"
    if not kept.exists():
        notebook = nbformat.read(path, as_version=4)
        here = {"metadata": {"path": str(path.parent)}}
        client = NotebookClient(notebook, kernel_name="python3", timeout=300, coalesce_streams=True, resources=here)
        client.execute(env=os.environ | {"PYTHONPATH": str(ROOT), "JUPYTER_PLATFORM_DIRS": "1"})
        CACHE.mkdir(parents=True, exist_ok=True)
        for old in CACHE.glob(f"{path.stem}-*.ipynb"):
            old.unlink()
        nbformat.write(notebook, kept)
    return nbformat.read(kept, as_version=4)


def fingerprint(path: Path) -> str:
    """Of all that decides what a notebook gives."""
    digest = hashlib.sha256(sys.version.encode())
    for source in [path, *sorted((ROOT / "rio_chain").rglob("*.py"))]:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def to_markdown(notebook: nbformat.NotebookNode, name: str) -> str:
    """The page of a notebook."""
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            # in a clone notebooks/ is beside docs/, and a link to a notebook leads to its file
            parts.append(re.sub(r"\]\((\w+)\.ipynb\)", r"](\1.md)", cell.source.replace("](../docs/", "](../")))
        elif cell.source.strip():
            parts.append(f"```python\n{cell.source}\n```")
            parts += [block for block in map(to_block, cell.outputs) if block]
    parts.insert(1, f'!!! tip ""\n    This page is a notebook that was run. [Take it along]({name}), and change it.')
    return "\n\n".join(parts)


def to_block(output: Any) -> str:
    """One output of a cell."""
    if output.output_type == "stream":
        return of_text(output.text)
    if output.output_type == "error":
        return of_text("\n".join(output.traceback))
    return of_bundle(output.data)
