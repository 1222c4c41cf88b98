"""The figures of CACC and ASR against the poison rate or the trusted-set size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from musclelora.benchmark.canvas import AXES, attack_boards, errors, heading, legend, measured, name, save
from musclelora.benchmark.drawing import Drawing
from musclelora.benchmark.leaderboard import Group


def series_along(groups: Sequence[Group], axis: str) -> list[list[Group]]:
    """Groups that differ in `axis` alone, two at least, in its order."""
    found: dict[tuple[Any, ...], list[Group]] = {}
    for group in groups:
        if getattr(group, axis) is not None:
            other = group.trusted_size if axis == "rate" else group.rate
            found.setdefault((group.data, group.model, other), []).append(group)
    many = (sorted(series, key=lambda group: _position(group, axis)) for series in found.values())
    return [series for series in many if len(series) > 1]


def course_figure(
    series: Sequence[Group],
    axis: str,
    measures: Sequence[str],
    look: dict[str, dict[str, Any]],
    folder: Path,
    file: str,
) -> Drawing:
    """CACC and ASR against the poison rate or the trusted-set size: one column for each attack."""
    titles = list(dict.fromkeys(board.title for group in series for board in attack_boards(group)))
    figure = Figure(figsize=(3.2 * len(titles) + 2.6, max(4.2, 3.0 * len(measures))), layout="constrained")
    panels = figure.subplots(len(measures), len(titles), sharex=True, sharey="row", squeeze=False)
    values = [_position(group, axis) for group in series]
    boards = [board for group in series for board in attack_boards(group)]
    for row, measure in zip(panels, measures, strict=True):
        for panel, title in zip(row, titles, strict=True):
            _lines(panel, series, title, axis, measure, look)
            if measure == measures[0]:
                panel.set_title(name(title))
            # Positions are those of the values on a scale of ratios, where that can be.
            if min(values) > 0:
                panel.set_xscale("log")
            panel.set_xticks(values, [f"{value:g}" for value in values])
            panel.minorticks_off()
            panel.grid()
        row[0].set_ylabel(AXES[measure])
    what = {"rate": "poison rate (% of the training rows)", "trusted_size": "trusted rows"}[axis]
    figure.supxlabel(what, fontsize=10)
    legend(figure, look, boards, lines=True)
    shown = " and ".join(measure.upper() for measure in measures)
    title = f"{shown} against {what.split(' (')[0]}: {heading(series[0], without=axis)}"
    alt = f"{title}, at {', '.join(f'{value:g}' for value in values)}; one column for each attack."
    return save(figure, folder, file, title=title, alt=alt)


def _lines(
    panel: Any,
    series: Sequence[Group],
    title: str,
    axis: str,
    measure: str,
    look: dict[str, dict[str, Any]],
) -> None:
    """The course of every defence on one attack, the oracle's as a grey line."""
    points: dict[str, list[tuple[float, Any]]] = {}
    oracle: list[tuple[float, Any]] = []
    for group in series:
        for board in attack_boards(group):
            for line in board.lines if board.title == title else ():
                if measured(line):
                    place = oracle if line.reference else points.setdefault(line.defense, [])
                    place.append((_position(group, axis), line.cells[measure]))
    if oracle:
        panel.plot(
            [x for x, _ in oracle],
            [100 * (cell.mean or 0) for _, cell in oracle],
            color="0.55",
            linewidth=3,
            alpha=0.6,
        )
    values = [_position(group, axis) for group in series]
    low, high = min(values), max(values)
    for number, (defense, found) in enumerate(points.items()):
        # Bars at the same place would hide each other: they stand side by side, in 5 % of the axis.
        aside = 0.05 * ((number + 0.5) / len(points) - 0.5)
        shift = (high / low) ** aside if low > 0 else 1.0
        xs = [x * shift if low > 0 else x + aside * (high - low) for x, _ in found]
        cells = [cell for _, cell in found]
        ys = [100 * (cell.mean or 0) for cell in cells]
        panel.errorbar(xs, ys, yerr=errors(cells), linewidth=1.1, elinewidth=0.6, **look[defense])


def _position(group: Group, axis: str) -> float:
    value = group.rate if axis == "rate" else group.trusted_size
    return float(value or 0) * (100 if axis == "rate" else 1)
