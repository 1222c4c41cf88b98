"""Characters that show nothing, or turn the text around: a page writes them out."""

from __future__ import annotations

import unicodedata
from typing import Final

_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_BLANK: Final = frozenset("\u3164\u115f\u1160\uffa0\u2800")


def is_hidden(character: str) -> bool:
    """Whether a character is not seen, or has others seen out of order; ``page.js`` has the same."""
    hidden = unicodedata.category(character) in _CATEGORIES and character not in "\t\n\r"
    return hidden or character in _BLANK or 0xE0100 <= ord(character) <= 0xE01EF
