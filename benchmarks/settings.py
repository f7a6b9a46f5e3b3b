"""What a run was asked for."""

from __future__ import annotations

from attrs import frozen

from benchmarks.measure import FULL, QUICK, Effort


@frozen
class Settings:
    """``go``: a checkout of the Go original, or None."""

    quick: bool = False
    go: str | None = None

    @property
    def effort(self) -> Effort:
        return QUICK if self.quick else FULL

    def either(self, full: int, quick: int) -> int:
        return quick if self.quick else full


class Missing(Exception):
    """A library or tool that is not here; the text says what was left out."""
