"""The program of a plan for the workers of a cluster: with the instructions of each piece in their place."""

from __future__ import annotations

from rio_chain.chain._nodes import Kept, Piece, walk
from rio_chain.chain._plan import Plan
from rio_chain.engine._instructions import Branch, Program
from rio_chain.engine._layers import Item
from rio_chain.engine._program import Compiler


def program_of_pieces(plan: Plan, *, direct: bool, places: bool, spread: bool) -> Program:
    """As ``program_of``, for a worker. Its ``pieces`` are numbered as in the program of the client."""
    key = "pieces", direct, places, spread
    found: Program | None = plan.programs.get(key)
    if found is not None:
        return found
    made = _PieceCompiler(plan, direct=direct, places=places, spread=spread).compile()
    kept: Program = plan.programs.setdefault(key, made)
    return kept


class _PieceCompiler(Compiler):
    def _piece(self, node: Piece, *, head: bool) -> None:
        """What is in it. What is around the pieces never runs here."""
        keeps = tuple(inner.place for inner in walk(node.inner) if isinstance(inner, Kept))
        number, start, low = len(self.pieces), len(self.ops), self.tasks
        self.pieces.append(Branch(start, start, low, low, keeps=keeps))

        def end() -> None:
            self.pieces[number] = Branch(start, len(self.ops), low, self.tasks, keeps=keeps)

        self.work += [end, Item(node.inner, head)]
