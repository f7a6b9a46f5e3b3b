"""What was measured: rows of samples, the bars they are held to, and how both are printed and stored."""

from __future__ import annotations

import statistics
from typing import Any

from attrs import define, field, frozen


@define
class Row:
    """The samples of one case."""

    name: str
    samples: list[float] = field(factory=list[float])

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def low(self) -> float:
        return min(self.samples)

    @property
    def high(self) -> float:
        return max(self.samples)


@frozen
class Bar:
    """A promise: ``reached`` is at most ``limit``, or at least it. None: it could not be measured here."""

    text: str
    limit: float
    reached: float | None
    unit: str = "x"
    least: bool = False

    @property
    def met(self) -> bool | None:
        if self.reached is None:
            return None
        return self.reached >= self.limit if self.least else self.reached <= self.limit

    def line(self) -> str:
        sign = ">=" if self.least else "<="
        promise = f"{self.text} {sign} {self.limit:g}{self.unit}"
        if self.reached is None:
            return f"  bar: {promise}: not measured"
        return f"  bar: {promise}: {self.reached:.3g}{self.unit} {'ok' if self.met else 'MISSED'}"


@define
class Table:
    """Rows that were sampled together; their ratios are to the row ``base``."""

    title: str
    rows: list[Row]
    base: str | None = None
    unit: str = "us"
    bars: list[Bar] = field(factory=list[Bar])
    notes: list[str] = field(factory=list[str])

    def median(self, name: str) -> float:
        return next(row.median for row in self.rows if row.name == name)

    def has(self, name: str) -> bool:
        return any(row.name == name for row in self.rows)

    def ratio(self, name: str, base: str) -> float:
        return self.median(name) / self.median(base)

    def _base(self) -> float | None:
        return (self.median(self.base) or None) if self.base else None

    def bar(self, name: str, base: str, limit: float) -> None:
        """Hold the row ``name`` to ``limit`` times the row ``base``."""
        self.bars.append(Bar(f"{name}, to {base}", limit, self.ratio(name, base)))

    def text(self) -> str:
        base = self._base()
        width = max([44, *(len(row.name) + 2 for row in self.rows)])
        lines = [f"{self.title} ({self.unit})"]
        for row in self.rows:
            ratio = "" if base is None else f"{row.median / base:8.2f}x"
            spread = f"[{row.low:10.2f} ..{row.high:10.2f}]"
            lines.append(f"  {row.name:{width}}{row.median:10.2f}  {spread}{ratio}")
        return "\n".join([*lines, *(bar.line() for bar in self.bars), *(f"  {note}" for note in self.notes)])

    def data(self) -> dict[str, Any]:
        """What JSON holds of it."""
        base = self._base()
        return {
            "title": self.title,
            "unit": self.unit,
            "base": self.base,
            "rows": [
                {
                    "name": row.name,
                    "median": row.median,
                    "low": row.low,
                    "high": row.high,
                    "ratio": None if base is None else row.median / base,
                }
                for row in self.rows
            ],
            "bars": [
                {
                    "text": bar.text,
                    "limit": bar.limit,
                    "reached": bar.reached,
                    "unit": bar.unit,
                    "least": bar.least,
                    "met": bar.met,
                }
                for bar in self.bars
            ],
            "notes": self.notes,
        }
