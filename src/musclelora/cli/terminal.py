"""Text that is safe on a terminal."""

from __future__ import annotations

from musclelora.printable import printable

__all__ = ["printable", "printable_lines"]


def printable_lines(text: str) -> str:
    """Several lines of text, each safe on a terminal."""
    return "\n".join(printable(line) for line in text.split("\n"))
