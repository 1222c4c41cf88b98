"""The figures of a report, drawn from its leaderboard; nothing is computed here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.figure import Figure

from musclelora.benchmark import wording
from musclelora.benchmark.comparison import Cell, Line, Row
from musclelora.benchmark.drawing import Drawing
from musclelora.benchmark.leaderboard import Board, Group, group_key
from musclelora.figures import INK, line_style, save, style

_LABELS: Final = {"asr": "ASR (%), low is good", "cacc": "CACC (%), high is good"}
_AXES: Final = {"rate": "poison rate (% of the training rows)", "trusted_size": "trusted rows"}
_FILLS: Final = {"training": "none", "filtering": "full", "inference": "bottom"}
_NOTE: Final = "hollow: training\nfilled: drops training rows\nhalf: looks at each text"
_SAME: Final = ("data", "model", "rate", "trusted_size")
_ORACLE: Final = "oracle (clean data)"
_LONGEST_NAME: Final = 34

Looks = dict[str, dict[str, Any]]
"""How each defence is drawn, from the best to the worst."""
Made = tuple[Figure, str, str]
"""A figure, its title, and what it shows for who cannot see it."""


def draw(groups: Sequence[Group], rows: Sequence[Row], folder: Path) -> list[Drawing]:
    """Every figure that these results have something to show in.

    Args:
        groups: of the leaderboard.
        rows: of the results table; the scale factors and ranks are read from them.
        folder: where the PNG and SVG files go.

    Raises:
        OutputError: a file cannot be written.
    """
    groups = [group for group in groups if any(map(_measured, group.boards[0].lines))]
    looks = styles(groups)
    drawings = []
    with style():
        made: dict[str, Made | None] = {}
        for number, group in enumerate(groups, 1):
            made[f"cacc-asr-{number}"] = _tradeoff(group, looks)
        for number, series in enumerate(_series(groups, "rate"), 1):
            made[f"poison-rate-{number}"] = _course(series, "rate", ("asr",), looks)
        for number, series in enumerate(_series(groups, "trusted_size"), 1):
            made[f"trusted-size-{number}"] = _course(series, "trusted_size", ("cacc", "asr"), looks)
        for number, group in enumerate(groups, 1):
            made[f"scales-{number}"] = _settings(group, rows)
        for name, found in made.items():
            if found is not None:
                figure, title, alt = found
                png, svg = (folder / f"{name}.{suffix}" for suffix in ("png", "svg"))
                save(figure, png, svg)
                drawings.append(Drawing(title, alt, png, svg))
    return drawings


def styles(groups: Sequence[Group]) -> Looks:
    """A marker, colour and dash for each defence, the same in every figure; the fill tells the kind."""
    # As the first table has them, so that a legend reads from best to worst.
    lines = [line for group in groups for line in group.boards[0].lines if not line.reference]
    kinds = {line.defense: line.kind for line in reversed(lines)}
    found: Looks = {}
    for number, defense in enumerate(dict.fromkeys(line.defense for line in lines)):
        fill = {"fillstyle": _FILLS.get(kinds[defense], "none"), "markerfacecoloralt": "white"}
        found[defense] = {**line_style(number), **fill, "markersize": 8}
    return found


def _tradeoff(group: Group, looks: Looks) -> Made:
    """CACC against ASR: one panel for each attack, one mark for each defence, a star for the oracle."""
    boards = _attack_boards(group)
    across = min(2, len(boards))
    down = -(-len(boards) // across)
    figure = Figure(figsize=(4.2 * across + 2.4, max(4.2, 3.6 * down)), layout="constrained")
    panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    shown: dict[str, Any] = {}
    for panel, board in zip(panels.flat, boards, strict=False):
        for line in filter(_measured, board.lines):
            (x, y), bars = _percent([line.cells["asr"], line.cells["cacc"]])
            if line.reference:
                panel.axvline(x, color="0.6", linewidth=0.8, linestyle=":")
                panel.axhline(y, color="0.6", linewidth=0.8, linestyle=":")
                (shown[_ORACLE],) = panel.plot(x, y, "*", color=INK, markersize=13)
                continue
            look = {**looks[line.defense], "linestyle": "none", "ecolor": "0.7", "elinewidth": 0.8}
            shown[line.defense] = panel.errorbar(x, y, xerr=bars[:, :1], yerr=bars[:, 1:], **look)[0]
        panel.set_title(_name(board.title))
        panel.set_xlim(-4, 104)
        panel.grid()
    for panel in panels.flat[len(boards) :]:
        panel.set_visible(False)
    figure.supxlabel(_LABELS["asr"], fontsize=10)
    figure.supylabel(_LABELS["cacc"], fontsize=10)
    _legend(figure, shown, looks)
    title = f"CACC against ASR: {_heading(group)}"
    alt = f"{title}, one panel for each of {len(boards)} attacks. {wording.verdict(group) or ''}"
    return figure, title, alt.strip()


def _series(groups: Sequence[Group], axis: str) -> list[list[Group]]:
    """Groups that differ in `axis` alone, two at least, in its order."""
    found: dict[tuple[Any, ...], list[Group]] = {}
    for group in groups:
        if getattr(group, axis) is not None:
            same = tuple(getattr(group, name) for name in _SAME if name != axis)
            found.setdefault(same, []).append(group)
    many = (sorted(series, key=lambda group: getattr(group, axis)) for series in found.values())
    return [series for series in many if len(series) > 1]


def _course(series: Sequence[Group], axis: str, measures: Sequence[str], looks: Looks) -> Made:
    """CACC and ASR against the poison rate or the trusted-set size: one column for each attack."""
    titles = list(dict.fromkeys(board.title for group in series for board in _attack_boards(group)))
    figure = Figure(figsize=(3.2 * len(titles) + 2.6, max(4.2, 3.0 * len(measures))), layout="constrained")
    panels = figure.subplots(len(measures), len(titles), sharex=True, sharey="row", squeeze=False)
    places = [getattr(group, axis) * (100 if axis == "rate" else 1) for group in series]
    shown: dict[str, Any] = {}
    for row, measure in zip(panels, measures, strict=True):
        for panel, title in zip(row, titles, strict=True):
            points: dict[str, list[tuple[float, Cell]]] = {}
            for place, group in zip(places, series, strict=True):
                for line in (line for b in _attack_boards(group) if b.title == title for line in b.lines):
                    if _measured(line):
                        label = _ORACLE if line.reference else line.defense
                        points.setdefault(label, []).append((place, line.cells[measure]))
            # Positions are those of the values on a scale of ratios, where that can be.
            panel.set_xscale("log" if min(places) > 0 else "linear")
            shown |= _courses(panel, points, looks)
            panel.set_xticks(places, [f"{place:g}" for place in places])
            panel.minorticks_off()
            panel.grid()
            if measure == measures[0]:
                panel.set_title(_name(title))
        row[0].set_ylabel(_LABELS[measure])
    figure.supxlabel(_AXES[axis], fontsize=10)
    _legend(figure, shown, looks)
    against = " and ".join(measure.upper() for measure in measures)
    without: dict[str, Any] = {axis: None}  # which is an axis of the figure
    heading = _heading(replace(series[0], **without))
    title = f"{against} against {_AXES[axis].split(' (')[0]}: {heading}"
    at = ", ".join(f"{place:g}" for place in places)
    return figure, title, f"{title}, at {at}; one column for each attack."


def _courses(panel: Any, points: dict[str, list[tuple[float, Cell]]], looks: Looks) -> dict[str, Any]:
    """The course of every defence on one attack, the oracle's as a grey line; what a legend shows of them."""
    shown: dict[str, Any] = {}
    everywhere = [place for found in points.values() for place, _ in found]
    low, high = min(everywhere, default=0), max(everywhere, default=0)
    for number, (label, found) in enumerate(points.items()):
        places = [place for place, _ in found]
        means, bars = _percent([cell for _, cell in found])
        if label == _ORACLE:
            (shown[label],) = panel.plot(places, means, color="0.55", linewidth=3, alpha=0.6)
            continue
        # Bars at the same place would hide each other: they stand side by side, in 5 % of the axis.
        aside = 0.05 * ((number + 0.5) / len(points) - 0.5)
        beside = [x * (high / low) ** aside if low > 0 else x + aside * (high - low) for x in places]
        look = {**looks[label], "linewidth": 1.1, "elinewidth": 0.6}
        shown[label] = panel.errorbar(beside, means, yerr=bars, **look)[0]
    return shown


def _settings(group: Group, rows: Sequence[Row]) -> Made | None:
    """CACC and ASR by rank and scale factors; None unless the grid gives several of them."""
    key = (group.data, group.model, group.rate, group.trusted_size)
    settings: dict[str, tuple[int, list[float]]] = {}
    for row in rows:
        given = row["scale_factors"] is not None or row["r"] is not None
        if given and group_key(row) == key and row["status"] == "done":
            settings[row["defense"]] = (int(row["r"] or 0), json.loads(row["scale_factors"] or "[]"))
    board = group.boards[0]
    lines = [line for line in board.lines if line.defense in settings and _measured(line)]
    lines.sort(key=lambda line: settings[line.defense], reverse=True)
    names = _setting_names(lines, settings)
    if not lines or all(setting == settings[lines[0].defense] for setting in settings.values()):
        return None
    figure = Figure(figsize=(9, 1.6 + 0.42 * len(lines)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    said = dict.fromkeys(names, "")
    for panel, measure in zip(panels, ("cacc", "asr"), strict=True):
        means, bars = _percent([line.cells[measure] for line in lines])
        panel.errorbar(means, range(len(lines)), xerr=bars, fmt="o", color=INK, capsize=3, elinewidth=0.8)
        for line in board.lines:
            if line.reference and _measured(line):
                (mean,), _ = _percent([line.cells[measure]])
                panel.axvline(mean, color="0.4", linewidth=1, linestyle="--")
                panel.text(mean, 1, "oracle", transform=panel.get_xaxis_transform(), ha="center", va="bottom")
        panel.set_xlabel(_LABELS[measure])
        panel.grid(axis="x")
        said = {
            name: f"{said[name]} {measure.upper()} {mean:.1f}"
            for name, mean in zip(names, means, strict=True)
        }
    panels[0].set_yticks(range(len(lines)), names)
    panels[0].set_ylim(-0.6, len(lines) - 0.4)
    title = f"Scale factors and rank, {board.title}: {_heading(group)}"
    values = "; ".join(f"{wording.plain(name)}:{words}" for name, words in said.items())
    return figure, title, f"{title}. {values}."


def _setting_names(lines: Sequence[Line], settings: dict[str, tuple[int, list[float]]]) -> list[str]:
    """The setting of each line, and its label as well where two lines have the same setting."""
    names = []
    for line in lines:
        rank, factors = settings[line.defense]
        said = [f"r = {rank}"] if rank else []
        said += [f"scales {' '.join(f'{factor:g}' for factor in factors)}"] if factors else []
        same = sum(settings[other.defense] == (rank, factors) for other in lines)
        names.append(_name(", ".join(said)) + (f"\n{_name(line.defense)}" if same > 1 else ""))
    return names


def _legend(figure: Figure, shown: dict[str, Any], looks: Looks) -> None:
    """A legend, to the right of all panels, of the marks that are shown."""
    order = [label for label in (*looks, _ORACLE) if label in shown]
    handles, names = [shown[label] for label in order], [_name(label) for label in order]
    figure.legend(handles, names, loc="outside right upper", fontsize=9, title=_NOTE, title_fontsize=8)


def _percent(cells: Sequence[Cell]) -> tuple[Any, Any]:
    """The means, and the lengths of the bars below and above them, of shape (2, N)."""
    means, low, high = 100 * np.array([[cell.mean, cell.low, cell.high] for cell in cells], dtype=float).T
    return means, np.array([means - low, high - means])


def _measured(line: Line) -> bool:
    """Whether the line has a CACC and an ASR to draw."""
    return line.cells["cacc"].mean is not None and line.cells["asr"].mean is not None


def _name(text: str) -> str:
    """A label that fits beside a mark."""
    shown = wording.plain(text)
    return shown if len(shown) <= _LONGEST_NAME else shown[: _LONGEST_NAME - 1] + "…"


def _heading(group: Group) -> str:
    return wording.plain(wording.heading(group))


def _attack_boards(group: Group) -> Sequence[Board]:
    """The tables of single attacks."""
    return group.boards[1:] if len(group.boards) > 1 else group.boards
