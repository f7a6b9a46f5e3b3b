"""Checks the types of the examples in README.md and in the pages: ``python docs_build/typed_examples.py FOLDER``.

The blocks of a page run one after the other with the same names, so they become one module. Each is written to FOLDER
with every line of code where it is in the page, so that what mypy and pyright report has the line of the page. One run
of mypy and one of pyright check all modules.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^( *)```(.*)$")

MYPY = """\
[mypy]
strict = true
enable_error_code = unused-awaitable
explicit_package_bases = true
"""
PYRIGHT = {"typeCheckingMode": "strict", "pythonVersion": "3.11"}


def pages() -> list[Path]:
    """README.md, and all pages of the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def code_of(page: Path) -> str:
    """The Python blocks of a page as one module; all other lines are empty."""
    lines: list[str] = []
    indent: str | None = None  # of the block that is open
    python = False
    for line in page.read_text(encoding="utf-8").splitlines():
        fence = FENCE.match(line)
        if indent is None:
            if fence is not None:
                indent, python = fence[1], fence[2] in ("python", "py")  # with a title it is a file of its own
            lines.append("")
        elif line.strip() == "```":
            indent = None
            lines.append("")
        else:
            lines.append(line.removeprefix(indent) if python else "")
    return "\n".join(lines).rstrip() + "\n"


def name_of(page: Path) -> str:
    """The name of the module of a page."""
    return "_".join(page.relative_to(ROOT).with_suffix("").parts).replace("-", "_").lower()


def write(folder: Path) -> list[Path]:
    """Write the modules of all pages that have code."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.py"):
        old.unlink()
    written: list[Path] = []
    for page in pages():
        code = code_of(page)
        if code.strip():
            written.append(folder / f"{name_of(page)}.py")
            written[-1].write_text(code, encoding="utf-8")
    (folder / "mypy.ini").write_text(MYPY, encoding="utf-8")
    (folder / "pyrightconfig.json").write_text(json.dumps(PYRIGHT), encoding="utf-8")
    return written


def main(folder: Path) -> int:
    """Check them; 0 when both checkers accept all."""
    modules = write(folder)
    python = sys.executable
    mypy = [python, "-m", "mypy", "--config-file", str(folder / "mypy.ini"), *map(str, modules)]
    pyright = [python, "-m", "pyright", "--project", str(folder), "--pythonpath", python]
    codes = [subprocess.run(command, cwd=ROOT, check=False).returncode for command in (mypy, pyright)]  # noqa: S603
    print(f"{len(modules)} pages")
    return max(codes)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
