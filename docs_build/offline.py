"""`python docs_build/offline.py DIR...`: fails if a page there would take anything from the network when it is opened.

Links that a reader may follow lead where they like. A Mermaid block would make the theme fetch Mermaid.
"""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path

ELSEWHERE = re.compile(r"(?:https?:)?//", re.IGNORECASE)
IN_STYLE = re.compile(r"""(?:@import\s+|url\(\s*)["']?((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)
FOLLOWED = {"a", "area"}  # by a reader, not by the browser
NAMES = {"canonical", "license", "author"}  # a <link> of these is never loaded


class Loads(HTMLParser):
    """What a page makes a browser load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at the attributes that load."""
        given = {name: value or "" for name, value in attrs}
        self.in_style = tag == "style"
        if "mermaid" in given.get("class", "").split():
            self.found.append("a Mermaid block")
        if tag in FOLLOWED or (tag == "link" and given.get("rel") in NAMES):
            return
        self.found += [
            f"<{tag} {name}={value!r}>"
            for name, value in given.items()
            if name in ("src", "href", "srcset", "poster", "data", "xlink:href") and ELSEWHERE.match(value.strip())
        ]
        self.found += IN_STYLE.findall(given.get("style", ""))

    def handle_data(self, data: str) -> None:
        """Look at what a style sheet loads."""
        if self.in_style:
            self.found += IN_STYLE.findall(data)


def loads(path: Path) -> list[str]:
    """What one file would load from elsewhere."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".css":
        return IN_STYLE.findall(text)
    parser = Loads()
    parser.feed(text)
    return parser.found


def main() -> int:
    """Look at all pages and style sheets."""
    files = [
        path for root in sys.argv[1:] for kind in ("html", "css") for path in sorted(Path(root).rglob(f"*.{kind}"))
    ]
    bad = [f"{path}: {found}" for path in files for found in loads(path)]
    print("\n".join([*bad, f"{len(files)} files looked at, {len(bad)} loads from elsewhere"]))
    return 1 if bad or not files else 0


if __name__ == "__main__":
    sys.exit(main())
