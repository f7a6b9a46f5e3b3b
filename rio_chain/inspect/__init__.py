"""Shows and checks chains and runs: a chain as tree, picture or Mermaid; a run as picture, timeline or live table."""

from rio_chain.inspect._explain import explain, explain_pieces
from rio_chain.inspect._mermaid import Mermaid, mermaid
from rio_chain.inspect._text import Text

__all__ = ["Mermaid", "Text", "explain", "explain_pieces", "mermaid"]
