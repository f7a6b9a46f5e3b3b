"""`python docs_build/export.py OUT`: the executed notebooks as pages of HTML, as JupyterLab would show them.

nbconvert's own template takes RequireJS, MathJax and Mermaid from the network, for what no notebook of ours has.
"""

from __future__ import annotations

import sys
from pathlib import Path

from nbconvert import HTMLExporter

from notebooks import NOTEBOOKS, executed

OFFLINE = """{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""


def main() -> None:
    """Write a page for each notebook."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    exporter = HTMLExporter(raw_template=OFFLINE)
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        page, _ = exporter.from_notebook_node(executed(path), {"metadata": {"name": path.stem}})
        (out / f"{path.stem}.html").write_text(page, encoding="utf-8")
        print(f"{path.name} -> {out / path.stem}.html")


if __name__ == "__main__":
    main()
