"""The figure of scale factors and ranks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from musclelora.benchmark.canvas import AXES, errors, heading, measured, name, save
from musclelora.benchmark.comparison import Line, Row
from musclelora.benchmark.drawing import Drawing
from musclelora.benchmark.leaderboard import Group, group_key
from musclelora.figures import INK

Setting = tuple[int, tuple[float, ...]]
"""The rank and the scale factors, as far as the grid gives them: else 0 and none."""


def settings_figure(group: Group, rows: Sequence[Row], folder: Path, file: str) -> Drawing | None:
    """CACC and ASR by rank and scale factors; None unless the grid gives several of them."""
    settings = _settings(group, rows)
    if len(set(settings.values())) < 2:
        return None
    board = group.boards[0]
    lines = [line for line in board.lines if line.defense in settings and measured(line)]
    lines.sort(key=lambda line: settings[line.defense], reverse=True)
    if not lines:
        return None
    figure = Figure(figsize=(9, 1.6 + 0.42 * len(lines)), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    places = list(range(len(lines)))
    oracle = next((line for line in board.lines if line.reference and measured(line)), None)
    for panel, measure, title in zip(panels, ("cacc", "asr"), (AXES["cacc"], AXES["asr"]), strict=True):
        cells = [line.cells[measure] for line in lines]
        means = [100 * (cell.mean or 0) for cell in cells]
        panel.errorbar(means, places, xerr=errors(cells), fmt="o", color=INK, capsize=3, elinewidth=0.8)
        if oracle is not None:
            floor = 100 * (oracle.cells[measure].mean or 0)
            panel.axvline(floor, color="0.4", linewidth=1, linestyle="--")
            panel.annotate(
                "oracle",
                (floor, 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                color="0.3",
            )
        panel.set_xlabel(title)
        panel.grid(axis="x")
    panels[0].set_yticks(places, _names(lines, settings))
    panels[0].set_ylim(-0.6, len(lines) - 0.4)
    title = f"Scale factors and rank, {board.title}: {heading(group)}"
    said = "; ".join(
        f"{label.replace(chr(10), ' ')}: CACC {100 * (line.cells['cacc'].mean or 0):.1f}, "
        f"ASR {100 * (line.cells['asr'].mean or 0):.1f}"
        for label, line in zip(_names(lines, settings), lines, strict=True)
    )
    return save(figure, folder, file, title=title, alt=f"{title}. {said}.")


def _settings(group: Group, rows: Sequence[Row]) -> dict[str, Setting]:
    key = (group.data, group.model, group.rate, group.trusted_size)
    found = {}
    for row in rows:
        given = row["scale_factors"] is not None or row["r"] is not None
        if given and group_key(row) == key and row["status"] == "done":
            factors: Any = row["scale_factors"] or "[]"
            factors = json.loads(factors) if isinstance(factors, str) else factors
            found[row["defense"]] = (int(row["r"] or 0), tuple(float(factor) for factor in factors))
    return found


def _names(lines: Sequence[Line], settings: dict[str, Setting]) -> list[str]:
    """The setting of each line, and its label as well where two lines have the same setting."""
    names = []
    for line in lines:
        rank, factors = settings[line.defense]
        said = [f"r = {rank}"] if rank else []
        said += [f"scales {' '.join(f'{factor:g}' for factor in factors)}"] if factors else []
        shown = name(", ".join(said))
        same = sum(settings[other.defense] == (rank, factors) for other in lines)
        names.append(shown if same == 1 else f"{shown}\n{name(line.defense)}")
    return names
