"""How every figure looks, also to those who see no colours and in grey print, and how it is written."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from musclelora.files import atomic_file

INK: Final = "#191a1c"
SOFT: Final = "#55585d"
GRID: Final = "#e6e7e3"
PALE: Final = "#c9d3da"
"""Bars of what is as it should be."""
ACCENT: Final = "#a63d0a"
"""Bars of what an attacker gains; dark where :data:`PALE` is light, so that grey print tells them apart."""
SCALE: Final = "cividis_r"
"""The colours of a map: the larger the darker, to every eye and in grey."""

COLORS: Final = ("#000000", "#0072b2", "#d55e00", "#007a58", "#a03c7a", "#4c6a00", "#7a4a00")
MARKERS: Final = "os^Dvp<h>8PXd"
DASHES: Final = ("-", "--", "-.", ":")
HATCHES: Final = ("", "///", "...", "xxx", "\\\\\\", "ooo", "+++")
_SUPERSCRIPTS: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_STYLE: Final = {
    # A dollar sign in a name of the data begins no formula; SVG files come out the same each time.
    "text.usetex": False,
    "text.parse_math": False,
    "svg.hashsalt": "musclelora",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "hatch.linewidth": 0.6,
    "savefig.dpi": 150,
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The look of the figures that are made and written in the block."""
    with mpl.rc_context(_STYLE):
        yield


def line_style(number: int) -> dict[str, Any]:
    """Colour, marker and dash of the line of a number; of the first 52 no two look alike in grey either."""
    return {
        "color": COLORS[number % len(COLORS)],
        "marker": MARKERS[number % len(MARKERS)],
        "linestyle": DASHES[number % len(DASHES)],
    }


def powers_of_ten() -> FuncFormatter:
    """How a logarithmic axis writes its powers of ten, such as 10⁻³."""
    return FuncFormatter(lambda value, _: f"10{str(round(math.log10(value))).translate(_SUPERSCRIPTS)}")


def save(figure: Figure, *paths: Path) -> None:
    """Write a figure, each file whole or not at all; the ending says what it is.

    Raises:
        OutputError: a file cannot be written.
    """
    for path in paths:
        with atomic_file(path) as temporary:
            figure.savefig(temporary, metadata={"Date": None} if path.suffix == ".svg" else None)
