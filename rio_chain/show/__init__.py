"""Everything that draws: a chain as source, tree, picture, Mermaid or plain data; a run as picture and timeline."""

from rio_chain.show.data import to_dict
from rio_chain.show.mermaid import Mermaid, mermaid
from rio_chain.show.source import source
from rio_chain.show.text import Text
from rio_chain.show.tree import explain

__all__ = ["Mermaid", "Text", "explain", "mermaid", "source", "to_dict"]
