"""Finding: one result of lint()."""

from __future__ import annotations

from attrs import frozen

from rio_chain.inspect._bounds import some


@frozen
class Finding:
    """One result of ``chain.lint()``. It prints as text.

    Attributes:
        code: the name of the rule, for filters: ``breaker-inside-timeout``.
        where: the names of the tasks concerned.
        text: what has no effect or a wrong one, and why.
        better: the code to write instead, for this part of the chain, with names as in the repr of the chain.

    Example:
        >>> from rio_chain import Task
        >>> [finding] = Task(len).timeout(500).timeout(100).lint()
        >>> finding.code, finding.better
        ('timeout-unreachable', 'Task(len).timeout(100)')
    """

    code: str
    where: tuple[str, ...]
    text: str
    better: str

    def __str__(self) -> str:
        better = "\n    ".join(self.better.splitlines())
        return f"{self.code} at {some(self.where)}: {self.text}\n  better: {better}"
