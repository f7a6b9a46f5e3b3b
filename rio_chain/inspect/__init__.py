"""Everything that draws: a chain as tree, picture or Mermaid; a run as picture and timeline."""

from rio_chain.inspect._explain import explain, explain_pieces
from rio_chain.inspect._mermaid import Mermaid, mermaid
from rio_chain.inspect._text import Text

__all__ = ["Mermaid", "Text", "explain", "explain_pieces", "mermaid"]
