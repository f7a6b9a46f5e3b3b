"""What notebooks show of an object, and its picture. The package ``inspect`` makes both."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING

from rio_chain._core import hooks

if TYPE_CHECKING:
    from pathlib import Path

    from rio_chain.inspect.pictures._svg_string import Svg


class NotebookRepr:
    """The base class of objects for which a notebook shows more than the repr."""

    __slots__ = ()

    def _repr_mimebundle_(
        self, include: Container[str] | None = None, exclude: Container[str] | None = None
    ) -> dict[str, str]:
        """Called by IPython. It never raises: if the picture fails, it gives the default repr."""
        try:
            return hooks.facade.mime_bundle(self, include, exclude)
        except Exception:  # noqa: BLE001
            return {"text/plain": object.__repr__(self)}


class Renderable(NotebookRepr):
    """The base class of objects with a plan, and therefore a picture."""

    __slots__ = ()

    def svg(self) -> Svg:
        """The picture: the chain with its policies, and for an Outcome also the result of each task.

        A notebook displays the value as a picture. ``str()`` of it is the text of an SVG document. The document loads
        nothing, runs nothing, and takes its colours from the page around it.

        Example:
            >>> from rio_chain import Task
            >>> Task(len).timeout(100).svg()
            <Svg of len, 228 x 88>
        """
        return hooks.facade.svg(self)

    def save(self, path: str | Path) -> Path:
        r"""Write it to a file and return the path. The suffix selects the form.

        ``.svg`` is the picture, ``.html`` a page with everything, ``.mmd`` a Mermaid flowchart. ``.txt`` is text: the
        tree of a chain, or the summary of an Outcome. An existing file is overwritten.

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
