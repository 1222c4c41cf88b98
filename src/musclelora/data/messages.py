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
    text = value if isinstance(value, str) else repr(value)
    cut = text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
    return repr(cut)


def listed(values: Iterable[object]) -> str:
    """At most 20 of `values`, shown and separated by commas."""
    items = [shown(value) for value in values]
    rest = len(items) - _MOST_LISTED
    return ", ".join(items[:_MOST_LISTED]) + (f" and {rest} more" if rest > 0 else "") or "none"


def one_line(error: BaseException) -> str:
    """A library's exception, reduced to the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
