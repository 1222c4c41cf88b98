"""The figures of a report, drawn from its leaderboard; nothing is computed here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from musclelora.benchmark import wording
from musclelora.benchmark.canvas import errors, legend, measured, name, plain_text, save, styles
from musclelora.benchmark.comparison import Row
from musclelora.benchmark.drawing import Drawing
from musclelora.benchmark.leaderboard import Board, Group
from musclelora.benchmark.settings_figure import settings_figure

_FILLS = "hollow: training\nfilled: drops training rows\nhalf: looks at each text"
_AXES = {"asr": "ASR (%), low is good", "cacc": "CACC (%), high is good"}


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
    with plain_text():
        for number, group in enumerate(groups, 1):
            drawings.append(_tradeoff(group, look, folder, f"cacc-asr-{number}"))
        for number, series in enumerate(_series(groups, "rate"), 1):
            drawings.append(_course(series, "rate", ("asr",), look, folder, f"poison-rate-{number}"))
        for number, series in enumerate(_series(groups, "trusted_size"), 1):
            both = ("cacc", "asr")
            drawings.append(_course(series, "trusted_size", both, look, folder, f"trusted-size-{number}"))
        for number, group in enumerate(groups, 1):
            drawing = settings_figure(group, rows, folder, f"scales-{number}")
            drawings += [] if drawing is None else [drawing]
    return drawings


def _tradeoff(group: Group, look: dict[str, dict[str, Any]], folder: Path, file: str) -> Drawing:
    """CACC against ASR: one panel for each attack, one mark for each defence."""
    boards = _attacks(group)
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
                panel.plot(x, y, "k*", markersize=13)
                continue
            panel.errorbar(
                x, y, xerr=errors([asr]), yerr=errors([cacc]), fmt="none", ecolor="0.7", elinewidth=0.8
            )
            panel.plot(x, y, **{**look[line.defense], "linestyle": "none"})
        panel.set_title(name(board.title), fontsize=10)
        panel.set_xlim(-4, 104)
        panel.grid(color="0.92", linewidth=0.6)
    for panel in panels.flat[len(boards) :]:
        panel.set_visible(False)
    figure.supxlabel(_AXES["asr"], fontsize=10)
    figure.supylabel(_AXES["cacc"], fontsize=10)
    _legend(figure, look, boards, lines=False)
    title = f"CACC against ASR: {_heading(group)}"
    alt = f"{title}, one panel for each of {len(boards)} attacks. {wording.verdict(group) or ''}".strip()
    return save(figure, folder, file, title=title, alt=alt)


def _course(
    series: Sequence[Group],
    axis: str,
    measures: Sequence[str],
    look: dict[str, dict[str, Any]],
    folder: Path,
    file: str,
) -> Drawing:
    """CACC and ASR against the poison rate or the trusted-set size: one column for each attack."""
    titles = list(dict.fromkeys(board.title for group in series for board in _attacks(group)))
    figure = Figure(figsize=(3.2 * len(titles) + 2.6, max(4.2, 3.0 * len(measures))), layout="constrained")
    panels = figure.subplots(len(measures), len(titles), sharex=True, sharey="row", squeeze=False)
    values = [_position(group, axis) for group in series]
    boards = [board for group in series for board in _attacks(group)]
    for row, measure in zip(panels, measures, strict=True):
        for panel, title in zip(row, titles, strict=True):
            _lines(panel, series, title, axis, measure, look)
            if measure == measures[0]:
                panel.set_title(name(title), fontsize=10)
            # Positions are those of the values on a scale of ratios, where that can be.
            if min(values) > 0:
                panel.set_xscale("log")
            panel.set_xticks(values, [f"{value:g}" for value in values])
            panel.minorticks_off()
            panel.grid(color="0.92", linewidth=0.6)
        row[0].set_ylabel(_AXES[measure])
    what = {"rate": "poison rate (% of the training rows)", "trusted_size": "trusted rows"}[axis]
    figure.supxlabel(what, fontsize=10)
    _legend(figure, look, boards, lines=True)
    shown = " and ".join(measure.upper() for measure in measures)
    title = f"{shown} against {what.split(' (')[0]}: {_heading(series[0], without=axis)}"
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
        for board in _attacks(group):
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
    for defense, found in points.items():
        xs, cells = [x for x, _ in found], [cell for _, cell in found]
        ys = [100 * (cell.mean or 0) for cell in cells]
        panel.errorbar(xs, ys, yerr=errors(cells), linewidth=1.1, elinewidth=0.6, **look[defense])


def _legend(figure: Figure, look: dict[str, dict[str, Any]], boards: Sequence[Board], *, lines: bool) -> None:
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
    legend(figure, handles, names, _FILLS)


def _heading(group: Group, without: str = "") -> str:
    """The heading of a group, without what is on an axis."""
    if without == "rate":
        group = replace(group, rate=None)
    if without == "trusted_size":
        group = replace(group, trusted_size=None)
    return wording.plain(wording.heading(group))


def _attacks(group: Group) -> Sequence[Board]:
    """The tables of single attacks."""
    return group.boards[1:] if len(group.boards) > 1 else group.boards


def _position(group: Group, axis: str) -> float:
    value = group.rate if axis == "rate" else group.trusted_size
    return float(value or 0) * (100 if axis == "rate" else 1)


def _series(groups: Sequence[Group], axis: str) -> list[list[Group]]:
    """Groups that differ in `axis` alone, two at least, in its order."""
    found: dict[tuple[Any, ...], list[Group]] = {}
    for group in groups:
        if getattr(group, axis) is not None:
            other = group.trusted_size if axis == "rate" else group.rate
            found.setdefault((group.data, group.model, other), []).append(group)
    many = (sorted(series, key=lambda group: _position(group, axis)) for series in found.values())
    return [series for series in many if len(series) > 1]
