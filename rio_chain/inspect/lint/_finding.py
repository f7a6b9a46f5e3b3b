"""Finding: what lint() names."""

from __future__ import annotations

from attrs import frozen

from rio_chain.inspect._bounds import some


@frozen
class Finding:
    """One thing that ``chain.lint()`` names. It prints as text.

    Attributes:
        code: what it is, for filters: ``breaker-inside-timeout``.
        where: the names of the tasks that it is about.
        text: what does not work, and why.
        better: the code that does, for this part of the chain, names as in the repr of the chain.

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
