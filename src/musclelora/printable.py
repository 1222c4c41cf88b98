"""Text that obeys and hides nothing, wherever it is shown in a line."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with everything written out that a terminal or XML would obey, hide or refuse.

    Such are line ends, ANSI escapes, and characters that turn their neighbours around.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
