"""Everything that draws: a chain as tree, picture or Mermaid; a run as picture and timeline."""

from rio_chain.show.mermaid import Mermaid, mermaid
from rio_chain.show.text import Text
from rio_chain.show.tree import explain

__all__ = ["Mermaid", "Text", "explain", "mermaid"]
