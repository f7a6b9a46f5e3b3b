"""How wide a text will be, without asking a font; and texts cut to fit.

The widths are those of the widest fonts in use (DejaVu, Verdana), so a text is never wider than its place. All of them
are of printable ASCII: what is not, has been escaped before.

Widths are added by ``fsum``. ``sum`` rounds floats in another way since Python 3.12, and a picture is the same on all.
"""

from __future__ import annotations

from math import fsum

from rio_chain._core.units import escape_nonprintable

MONO = 0.61
"""Of a character in a font where all are alike, in parts of the font's size."""
_WIDE = {
    **dict.fromkeys("ijlfrtI.,:;'|!()[]/\\ -`", 0.41),
    **dict.fromkeys("cksvxyz_", 0.6),
    **dict.fromkeys("mwMW@%", 1.0),
    **dict.fromkeys("+=<>#~^", 0.84),
    **dict.fromkeys("ABCDEFGHJKLNOPQRSTUVXYZ&", 0.79),
}
_OTHER = 0.65


def width(text: str, size: float, *, mono: bool = False) -> float:
    """Pixels that a text of printable ASCII takes at most, in a font of that size."""
    return size * (MONO * len(text) if mono else fsum(_WIDE.get(c, _OTHER) for c in text))


def cut(text: str, most: int) -> str:
    """The text in one line of at most so many characters of printable ASCII, its end left out where need be."""
    if len(text) > 2 * most:  # of ten thousand characters most need not be looked at
        text = text[: 2 * most]
    text = escape_nonprintable(text)
    return text if len(text) <= most else text[: most - 3] + "..."
