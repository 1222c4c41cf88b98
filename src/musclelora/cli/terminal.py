"""Text that is safe on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with everything that a terminal would obey or hide, such as ANSI escapes, written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def printable_lines(text: str) -> str:
    """Several lines of text, each safe on a terminal."""
    return "\n".join(printable(line) for line in text.split("\n"))
