"""Text that is safe on a terminal."""

from __future__ import annotations

import click

from musclelora.launched import process_rank


def printable(text: str) -> str:
    """`text` with everything that a terminal would obey or hide, such as ANSI escapes, written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def printable_lines(text: str) -> str:
    """Several lines of text, each safe on a terminal."""
    return "\n".join(printable(line) for line in text.split("\n"))


def tell(line: str) -> None:
    """Print what is found, beside the results; of several processes the first one does."""
    if process_rank() == 0:
        click.echo(printable(line), err=True)
