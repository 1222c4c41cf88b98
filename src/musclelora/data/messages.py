"""How a data error is worded: one line of place, what was found, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Iterable

from musclelora.errors import DataError

_LONGEST_SHOWN = 60
_MOST_LISTED = 20


def bad_data(place: str, found: str, expected: str, remedy: str) -> DataError:
    """The error ``PLACE: FOUND; expected EXPECTED; REMEDY``."""
    return DataError(f"{place}: {found}; expected {expected}; {remedy}")


def shown(value: object) -> str:
    """`value` from a data set, safe to print: quoted, cut to 60 characters, control characters escaped."""
    try:
        text = value if isinstance(value, str) else repr(value)
    except (RecursionError, ValueError):  # nested without end; a number of thousands of digits
        text = f"a {type(value).__name__} too large to show"
    cut = text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
    return repr(cut)


def listed(values: Iterable[object]) -> str:
    """At most 20 of `values`, shown and separated by commas."""
    items = [shown(value) for value in values]
    rest = len(items) - _MOST_LISTED
    return ", ".join(items[:_MOST_LISTED]) + (f" and {rest} more" if rest > 0 else "") or "none"


def one_line(error: BaseException) -> str:
    """A library's exception, reduced to the first line of its message, whole or with its end marked."""
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    # A line that only introduces the next one says nothing by itself.
    said = f"{lines[0]} {lines[1].strip()}" if lines[0].rstrip().endswith(":") and lines[1:] else lines[0]
    return f"{type(error).__name__}: {cut(said.strip())}"


def cut(text: str, longest: int = 300) -> str:
    """`text` in one line, and where that is too long, cut at a word with an ellipsis for the rest."""
    line = " ".join(text.split())
    if len(line) <= longest:
        return line
    head, _, _ = line[:longest].rpartition(" ")
    return f"{head or line[:longest]} …"
