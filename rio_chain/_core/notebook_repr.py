"""What notebooks show of an object, and how a picture of it is had. ``show`` makes the pictures."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from rio_chain._core import hooks

if TYPE_CHECKING:
    from pathlib import Path

    from rio_chain.inspect.pictures._svg_string import Svg


class NotebookRepr:
    """The root of what a notebook shows as more than its repr."""

    __slots__ = ()

    def _repr_mimebundle_(
        self, include: Container[str] | None = None, exclude: Container[str] | None = None
    ) -> dict[str, str]:
        """What IPython asks for. It never raises: whoever looks at an object wants to see something."""
        try:
            return hooks.facade.mime_bundle(self, include, exclude)
        except Exception:  # noqa: BLE001
            return {"text/plain": object.__repr__(self)}


class Renderable(NotebookRepr):
    """The root of what has a plan, and therefore a picture."""

    __slots__ = ()

    def svg(self) -> Svg:
        """Its picture: the chain with its policies; of an Outcome, with what became of each task on it.

        In a notebook the value shows as the picture; ``str()`` of it is the text of an SVG document, which loads
        nothing, runs nothing, and takes its colours from the page around it.

        Example:
            >>> from rio_chain import Task
            >>> Task(len).timeout(100).svg()
            <Svg of len, 228 x 88>
        """
        return hooks.facade.svg(self)

    def save(self, path: str | Path) -> Path:
        r"""Write it to a file. What is written is said by the suffix; gives the path.

        ``.svg`` is the picture, ``.html`` a page with all there is to see, ``.mmd`` a Mermaid flowchart, ``.txt`` the
        text: of a chain its tree, of an Outcome its summary. Overwrites.

        Raises:
            UsageError: another suffix.
            OSError: the file can't be written.

        Example:
            >>> import tempfile
            >>> from pathlib import Path
            >>> from rio_chain import Task
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     path = Task(len).save(Path(folder) / "plan.txt")
            ...     path.read_text()
            'task len (sync)\n'
        """
        return hooks.facade.save(self, path)
