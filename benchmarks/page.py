"""Writes the tables of a run into docs/explanation/performance.md: ``python -m benchmarks.page F.json``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

PLACE = Path(__file__).parents[1] / "docs" / "explanation" / "performance.md"
MARKS = "<!-- {part}: from here -->\n", "<!-- {part}: to here -->"


def shown(value: float, unit: str) -> str:
    """More digits than three say nothing, at this spread."""
    number = f"{value:.3g}"
    return f"{f'{value:,.0f}' if 'e' in number else number} {unit}".rstrip()


def cell(text: str) -> str:
    return text.replace("|", "\\|")


def bars(run: dict[str, Any]) -> str:
    lines = ["| promise | at most or at least | measured |  |", "|---|---|---|---|"]
    for table in run["tables"]:
        for one in table["bars"]:
            sign = "≥" if one["least"] else "≤"
            reached = "not measured" if one["reached"] is None else shown(one["reached"], one["unit"].strip())
            verdict = {True: "met", False: "**missed**", None: ""}[one["met"]]
            name = one["text"] if table["title"] in one["text"] else f"{table['title']}; {one['text']}"
            lines.append(
                f"| {cell(name)} | {sign} {shown(one['limit'], one['unit'].strip())} | {reached} | {verdict} |"
            )
    return "\n".join(lines)


def table_of(table: dict[str, Any]) -> str:
    lines = [f"### {table['title'][0].upper()}{table['title'][1:]}", ""]
    if table["rows"]:
        lines += ["|  | median | low to high | ratio |", "|---|---:|---:|---:|"]
    unit = table["unit"]
    for row in table["rows"]:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        spread = f"{shown(row['low'], unit)} to {shown(row['high'], unit)}"
        lines.append(f"| {cell(row['name'])} | {shown(row['median'], unit)} | {spread} | {ratio} |")
    return "\n".join([*lines, *(f"\n{note}" for note in table["notes"])])


def provenance(run: dict[str, Any]) -> str:
    machine = run["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    kind = "A short run" if run["quick"] else "A full run"
    place = f"{machine['system']}, {machine['processor']}, {machine['cores']} cores"
    return f"{kind} of {run['when']}, {place}; {versions}."


def with_part(page: str, part: str, text: str) -> str:
    """The page with what stands between the marks of ``part`` replaced."""
    first, last = (mark.format(part=part) for mark in MARKS)
    if page.count(first) != 1 or page.count(last) != 1:
        raise SystemExit(f"the page needs the two marks of {part!r} once each")
    head, rest = page.split(first)
    _, tail = rest.split(last)
    return f"{head}{first}\n{text}\n\n{last}{tail}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.page", description=__doc__)
    parser.add_argument("run", type=Path, help="what `python -m benchmarks --json` wrote")
    parser.add_argument("place", type=Path, nargs="?", default=PLACE)
    asked = parser.parse_args()
    run = json.loads(asked.run.read_text())
    page = with_part(asked.place.read_text(), "bars", f"{provenance(run)}\n\n{bars(run)}")
    tables = [table_of(table) for table in run["tables"] if table["rows"] or table["notes"]]
    asked.place.write_text(with_part(page, "tables", "\n\n".join(tables)))


if __name__ == "__main__":
    main()
