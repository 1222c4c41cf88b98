"""The largest values that options, grids and configurations may have.

Each is far beyond any use, and small enough that no value up to it fills a machine by itself or overflows
what a library keeps it in. The command line, grids and the Python interface refuse what is beyond.
"""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Final

from musclelora.errors import UsageError

SEED: Final = 2**32 - 1
"""What NumPy's older generators, which the libraries seed too, can take."""
ROWS: Final = 1_000_000_000
"""Rows of a table that are read, drawn or measured."""
RANK: Final = 8192
"""Of an adapter: no layer that it sits on is much wider."""
BATCH: Final = 65_536
"""Rows or texts at a time, or batches of an update."""
TOKENS: Final = 2**20
"""Tokens of a text or of an answer."""
WORDS: Final = 1000
"""Words that an attack inserts into a text, and decoys of a triggered row."""
EPOCHS: Final = 10_000
STEPS: Final = 1_000_000_000
"""Optimiser steps, and evaluations."""
STRENGTH: Final = 1e6
"""α of an adapter, and thresholds of a loss."""
RATE: Final = 1e38
"""Learning rates and norms of gradients: the most that float32 holds, as a large one stops by itself."""
NUMBERS: Final = 256
"""Numbers in a list, such as scale factors."""
PROCESSES: Final = 1024
"""Workers, and processors or GPUs of one."""
SECONDS: Final = 366 * 86_400
TRIALS: Final = 100_000
SEEDS: Final = 10_000
"""Seeds of a grid."""
CELLS: Final = 100_000
"""Cells of a grid."""
SPECTRUM_ROWS: Final = 50_000
"""Rows of an analysis, which looks at all pairs of them."""


def check_whole(where: str, value: object, low: int, high: int) -> None:
    """Refuse what is no whole number from `low` to `high`; `where` names the parameter.

    Raises:
        UsageError: it is none.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not (whole and low <= int(value) <= high):  # type: ignore[call-overload]
        raise UsageError(f"{where}: found {_shown(value)}, expected a whole number from {low} to {high:,}")


def check_number(where: str, value: object, low: float, high: float, *, above: bool = False) -> None:
    """Refuse what is no number from `low`, or `above` it, to `high`; `where` names the parameter.

    Raises:
        UsageError: it is none.
    """
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not (low <= number <= high and not (above and number == low)):
        start = f"above {low:g}, at most" if above else f"from {low:g} to"
        raise UsageError(f"{where}: found {_shown(value)}, expected a number {start} {high:g}")


def _shown(value: object) -> str:
    """A value as a message has it, of a bounded length: a grid may hold a number of thousands of digits."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} too large to show"
    return text if len(text) <= 40 else f"{text[:39]}…"
