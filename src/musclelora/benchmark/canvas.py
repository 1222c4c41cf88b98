"""What the figures of results share: the look of each defence, their legend and their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from musclelora.benchmark import wording
from musclelora.benchmark.comparison import Cell, Line
from musclelora.benchmark.drawing import Drawing
from musclelora.benchmark.leaderboard import Board, Group
from musclelora.figures import line_style
from musclelora.figures import save as write

_FILLS = {"training": "none", "filtering": "full", "inference": "bottom"}
_NOTE = "hollow: training\nfilled: drops training rows\nhalf: looks at each text"
_LONGEST_NAME = 34

AXES = {"asr": "ASR (%), low is good", "cacc": "CACC (%), high is good"}
"""What an axis says."""


def styles(groups: Sequence[Group]) -> dict[str, dict[str, Any]]:
    """A marker, colour and dash for each defence, the same in every figure; the fill tells the kind."""
    found: dict[str, dict[str, Any]] = {}
    for group in groups:
        # As the first table has them, so that a legend reads from best to worst.
        for line in group.boards[0].lines:
            if line.reference or line.defense in found:
                continue
            found[line.defense] = {
                **line_style(len(found)),
                "fillstyle": _FILLS.get(line.kind, "none"),
                "markerfacecoloralt": "white",
                "markersize": 8,
            }
    return found


def name(text: str) -> str:
    """A label that fits beside a mark."""
    shown = wording.plain(text)
    return shown if len(shown) <= _LONGEST_NAME else shown[: _LONGEST_NAME - 1] + "…"


def errors(cells: Sequence[Cell]) -> list[list[float]]:
    """The two lengths of each cell's error bar, in per cent: shape (2, N)."""
    below = [100 * ((cell.mean or 0) - (cell.low or 0)) for cell in cells]
    above = [100 * ((cell.high or 0) - (cell.mean or 0)) for cell in cells]
    return [below, above]


def measured(line: Line) -> bool:
    """Whether the line has a CACC and an ASR to draw."""
    return line.cells["cacc"].mean is not None and line.cells["asr"].mean is not None


def legend(figure: Figure, look: dict[str, dict[str, Any]], boards: Sequence[Board], *, lines: bool) -> None:
    """A legend, to the right of all panels, of what is measured in `boards`."""
    drawn = {line.defense for board in boards for line in board.lines if measured(line)}
    handles = [
        Line2D([], [], **(style if lines else {**style, "linestyle": "none"}))
        for defense, style in look.items()
        if defense in drawn
    ]
    names = [name(defense) for defense in look if defense in drawn]
    if any(line.reference and measured(line) for board in boards for line in board.lines):
        mark = {"color": "0.55", "linewidth": 3, "alpha": 0.6} if lines else {"color": "black", "marker": "*"}
        handles.append(Line2D([], [], **(mark if lines else {**mark, "markersize": 13, "linestyle": "none"})))
        names.append("oracle (clean data)")
    figure.legend(handles, names, loc="outside right upper", fontsize=9, title=_NOTE, title_fontsize=8)


def heading(group: Group, without: str = "") -> str:
    """The heading of a group, without what is on an axis."""
    if without == "rate":
        group = replace(group, rate=None)
    if without == "trusted_size":
        group = replace(group, trusted_size=None)
    return wording.plain(wording.heading(group))


def attack_boards(group: Group) -> Sequence[Board]:
    """The tables of single attacks."""
    return group.boards[1:] if len(group.boards) > 1 else group.boards


def save(figure: Figure, folder: Path, file: str, *, title: str, alt: str) -> Drawing:
    """Write FILE.png and FILE.svg into `folder`.

    Raises:
        OutputError: they cannot be written.
    """
    paths = {suffix: folder / f"{file}.{suffix}" for suffix in ("png", "svg")}
    write(figure, *paths.values())
    return Drawing(title, alt, paths["png"], paths["svg"])
