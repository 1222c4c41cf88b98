"""The figures of a report, drawn from its leaderboard; nothing is computed here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from musclelora.benchmark import wording
from musclelora.benchmark.canvas import (
    AXES,
    attack_boards,
    errors,
    heading,
    legend,
    measured,
    name,
    save,
    styles,
)
from musclelora.benchmark.comparison import Row
from musclelora.benchmark.course_figure import course_figure, series_along
from musclelora.benchmark.drawing import Drawing
from musclelora.benchmark.leaderboard import Group
from musclelora.benchmark.settings_figure import settings_figure
from musclelora.figures import INK, style


def draw(groups: Sequence[Group], rows: Sequence[Row], folder: Path) -> list[Drawing]:
    """Every figure that these results have something to show in.

    Args:
        groups: of the leaderboard.
        rows: of the results table; the scale factors and ranks are read from them.
        folder: where the PNG and SVG files go.

    Raises:
        OutputError: a file cannot be written.
    """
    groups = [group for group in groups if any(measured(line) for line in group.boards[0].lines)]
    look = styles(groups)
    drawings = []
    with style():
        for number, group in enumerate(groups, 1):
            drawings.append(_tradeoff(group, look, folder, f"cacc-asr-{number}"))
        for number, series in enumerate(series_along(groups, "rate"), 1):
            drawings.append(course_figure(series, "rate", ("asr",), look, folder, f"poison-rate-{number}"))
        for number, series in enumerate(series_along(groups, "trusted_size"), 1):
            both = ("cacc", "asr")
            drawings.append(
                course_figure(series, "trusted_size", both, look, folder, f"trusted-size-{number}")
            )
        for number, group in enumerate(groups, 1):
            drawing = settings_figure(group, rows, folder, f"scales-{number}")
            drawings += [] if drawing is None else [drawing]
    return drawings


def _tradeoff(group: Group, look: dict[str, dict[str, Any]], folder: Path, file: str) -> Drawing:
    """CACC against ASR: one panel for each attack, one mark for each defence."""
    boards = attack_boards(group)
    across = min(2, len(boards))
    down = -(-len(boards) // across)
    figure = Figure(figsize=(4.2 * across + 2.4, max(4.2, 3.6 * down)), layout="constrained")
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    for panel, board in zip(panels.flat, boards, strict=False):
        for line in filter(measured, board.lines):
            cacc, asr = line.cells["cacc"], line.cells["asr"]
            x, y = 100 * (asr.mean or 0), 100 * (cacc.mean or 0)
            if line.reference:
                panel.axvline(x, color="0.6", linewidth=0.8, linestyle=":")
                panel.axhline(y, color="0.6", linewidth=0.8, linestyle=":")
                panel.plot(x, y, "*", color=INK, markersize=13)
                continue
            panel.errorbar(
                x, y, xerr=errors([asr]), yerr=errors([cacc]), fmt="none", ecolor="0.7", elinewidth=0.8
            )
            panel.plot(x, y, **{**look[line.defense], "linestyle": "none"})
        panel.set_title(name(board.title))
        panel.set_xlim(-4, 104)
        panel.grid()
    for panel in panels.flat[len(boards) :]:
        panel.set_visible(False)
    figure.supxlabel(AXES["asr"], fontsize=10)
    figure.supylabel(AXES["cacc"], fontsize=10)
    legend(figure, look, boards, lines=False)
    title = f"CACC against ASR: {heading(group)}"
    alt = f"{title}, one panel for each of {len(boards)} attacks. {wording.verdict(group) or ''}".strip()
    return save(figure, folder, file, title=title, alt=alt)
