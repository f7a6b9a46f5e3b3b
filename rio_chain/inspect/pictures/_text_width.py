"""Computes the width of texts without a font, and cuts texts to fit.

The widths are those of the widest common fonts (DejaVu, Verdana), so a text is never wider than its place. All texts
are printable ASCII: other characters are escaped before.

Widths are added with ``fsum``, because ``sum`` rounds floats differently since Python 3.12, and a picture must be the
same on all versions.
"""

from __future__ import annotations

from math import fsum

from rio_chain._core.units import escape_nonprintable

MONO = 0.61
"""The width of a character in a monospaced font, as a share of the font size."""
_WIDE = {
    **dict.fromkeys("ijlfrtI.,:;'|!()[]/\\ -`", 0.41),
    **dict.fromkeys("cksvxyz_", 0.6),
    **dict.fromkeys("mwMW@%", 1.0),
    **dict.fromkeys("+=<>#~^", 0.84),
    **dict.fromkeys("ABCDEFGHJKLNOPQRSTUVXYZ&", 0.79),
}
_OTHER = 0.65


def width(text: str, size: float, *, mono: bool = False) -> float:
    """The most pixels that a text of printable ASCII takes in a font of this size."""
    return size * (MONO * len(text) if mono else fsum(_WIDE.get(c, _OTHER) for c in text))


def cut(text: str, most: int) -> str:
    """The text as one line of at most ``most`` characters of printable ASCII. A longer text is cut."""
    if len(text) > 2 * most:  # do not escape thousands of characters that are cut anyway
        text = text[: 2 * most]
    text = escape_nonprintable(text)
    return text if len(text) <= most else text[: most - 3] + "..."
