"""Figures of one or several analyses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from musclelora.figures import HATCHES, INK, PALE, SCALE, SOFT, line_style, powers_of_ten, save, style

_NAMES = {"e_low": "low-band error", "e_high": "high-band error"}
Runs = dict[str, dict[str, Any]]


def draw_all(runs: Runs, folder: str | os.PathLike[str]) -> list[Path]:
    """Draw every figure as PNG and SVG.

    Args:
        runs: analyses (:func:`~musclelora.spectrum.analysis.analyse`) by the name to show; one, or several
            side by side.
        folder: where to.

    Returns:
        the files written.
    """
    drawn = {"heat": heat_maps, "curves": curves, "ratios": band_shares, "frequency": frequencies}
    written = []
    with style():
        for name, draw in drawn.items():
            paths = [Path(folder) / f"{name}.{kind}" for kind in ("png", "svg")]
            save(draw(runs), *paths)
            written += paths
    return written


def heat_maps(runs: Runs) -> Figure:
    """The band errors over steps (across) and σ (up), a panel for each band and group; dark is large."""
    panels = [(run, group, key) for run, found in runs.items() for group in found["groups"] for key in _NAMES]
    groups = max(len(found["groups"]) for found in runs.values())
    figure = Figure(figsize=(3.4 * 2 * len(runs), 2.8 * groups + 0.6), layout="constrained")
    axes = figure.subplots(groups, 2 * len(runs), squeeze=False)
    levels = BoundaryNorm(np.linspace(0, 1, 11), 256, extend="max")
    image = None
    for run, group, key in panels:
        found = runs[run]
        row = list(found["groups"]).index(group)
        axis = axes[row][2 * list(runs).index(run) + list(_NAMES).index(key)]
        values = np.array(found["curves"][group][key]["by_sigma"], dtype=float).T  # None becomes NaN
        axis.set_title(
            f"{_label(run, runs)}{_shown(group)}: {_NAMES[key]}\n{_rows(found, group)}", fontsize=8
        )
        if np.isnan(values).all():
            axis.text(0.5, 0.5, "the labels have\nno such band", ha="center", va="center", fontsize=8)
            axis.set_axis_off()
            continue
        axis.patch.set(hatch="xx", edgecolor=SOFT)  # seen where there is no error, which is not an error of 0
        image = axis.pcolormesh(
            _edges(found["steps"]), _edges(found["sigmas"], log=True), values, cmap=SCALE, norm=levels
        )
        sigmas = [found["sigmas"][place] for place in (0, len(found["sigmas"]) // 2, -1)]
        axis.set_yscale("log")
        axis.set_yticks(sigmas, [f"{sigma:.3g}" for sigma in sigmas])
        axis.minorticks_off()
        axis.set_xlabel("step", fontsize=8)
        axis.set_ylabel("σ (small: fine detail counts as low)", fontsize=7)
        axis.tick_params(labelsize=7)
    for row in range(groups):
        for column, run in enumerate(runs):
            if row >= len(runs[run]["groups"]):
                axes[row][2 * column].set_axis_off()
                axes[row][2 * column + 1].set_axis_off()
    if image is not None:
        figure.colorbar(image, ax=axes, label="relative error of the band", shrink=0.8)
    return figure


def curves(runs: Runs) -> Figure:
    """The band errors over steps, the mean over σ, with 95 % intervals; a panel for each run and band."""
    figure = Figure(figsize=(4.2 * len(runs), 6), layout="constrained")
    axes = figure.subplots(2, len(runs), squeeze=False, sharey="row")
    for column, (run, found) in enumerate(runs.items()):
        for row, key in enumerate(_NAMES):
            axis = axes[row][column]
            for number, group in enumerate(found["groups"]):
                look = line_style(number)
                curve = {
                    name: np.array(found["curves"][group][key][name], dtype=float)
                    for name in ("value", "low", "high")
                }
                if np.isnan(curve["value"]).all():
                    continue
                axis.plot(
                    found["steps"],
                    curve["value"],
                    **look,
                    markersize=3,
                    label=f"{_shown(group)} ({_rows(found, group)})",
                    markevery=max(len(found["steps"]) // 12, 1),
                )
                axis.fill_between(
                    found["steps"], curve["low"], curve["high"], color=look["color"], alpha=0.15, linewidth=0
                )
            axis.set_title(f"{_label(run, runs)}{_NAMES[key]}", fontsize=9)
            axis.set_xlabel("step")
            if axis.lines:
                axis.legend(fontsize=7)
    for row in range(2):
        axes[row][0].set_ylabel("relative error (mean over σ, 95 %)")
        axes[row][0].set_ylim(
            bottom=0
        )  # the panels share it; earlier, and the first would set the top for all
    return figure


def band_shares(runs: Runs) -> Figure:
    """LFR and HFR of the labels and of the last outputs, the mean over σ, with 95 % intervals."""
    figure = Figure(figsize=(4.2 * len(runs), 3.6), layout="constrained")
    axes = figure.subplots(1, len(runs), squeeze=False, sharey=True)[0]
    for axis, (run, found) in zip(axes, runs.items(), strict=True):
        groups = list(found["groups"])
        width = 0.8 / (2 * len(groups))
        for number, group in enumerate(groups):
            for place, key in enumerate(("lfr", "hfr")):
                curve = found["curves"][group][key]
                label = float(np.mean(found["labels"][group][key]))
                value, low, high = (curve[name][-1] for name in ("value", "low", "high"))
                at = place + (2 * number - len(groups) + 0.5) * width
                bar = {"width": width, "edgecolor": INK, "hatch": HATCHES[number % len(HATCHES)]}
                what = f"{_shown(group)} ({_rows(found, group)})"
                axis.bar(at, label, color="1.0", label=f"labels, {what}" if not place else None, **bar)
                axis.bar(
                    at + width, value, color=PALE, label=f"outputs, {what}" if not place else None, **bar
                )
                axis.errorbar(
                    at + width,
                    value,
                    [[max(value - low, 0)], [max(high - value, 0)]],
                    color=INK,
                    capsize=2,
                )
        axis.set_xticks([0, 1], ["low (LFR)", "high (HFR)"])
        axis.set_title(f"{_label(run, runs)}step {found['steps'][-1]:.0f}", fontsize=9)
        axis.legend(fontsize=7)
    axes[0].set_ylabel("norm of the band / norm of the whole")
    return figure


def frequencies(runs: Runs) -> Figure:
    """Power over frequency along the principal directions, of the labels and of the last outputs."""
    figure = Figure(figsize=(4.2 * len(runs), 6), layout="constrained")
    axes = figure.subplots(2, len(runs), squeeze=False, sharey=True, sharex=True)
    for column, (run, found) in enumerate(runs.items()):
        spectrum = found["spectrum"]
        for row, (what, title) in enumerate(
            (("labels", "labels"), ("last", f"outputs, step {found['steps'][-1]:.0f}"))
        ):
            axis = axes[row][column]
            for number, group in enumerate(found["groups"]):
                look = line_style(number)
                power = np.array(spectrum[what][group], dtype=float)
                axis.plot(
                    power,
                    **look,
                    markersize=3,
                    markevery=(3 * number, 12),
                    label=f"{_shown(group)} ({_rows(found, group)})",
                )
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(powers_of_ten())
            axis.yaxis.set_minor_formatter(NullFormatter())
            axis.set_title(f"{_label(run, runs)}{title}", fontsize=9)
            axis.legend(fontsize=7)
        axes[1][column].set_xlabel(
            f"cycles over the extent, {spectrum['directions']} principal directions", fontsize=8
        )
    for row in range(2):
        axes[row][0].set_ylabel("power")
    return figure


def _label(run: str, runs: Runs) -> str:
    return f"{_shown(run)}, " if len(runs) > 1 else ""


def _shown(name: str) -> str:
    """A name as it is written; what no font and no SVG has is replaced."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def _rows(found: dict[str, Any], group: str) -> str:
    return f"{found['groups'][group]['rows']:,} rows"


def _edges(centres: list[float], *, log: bool = False) -> np.ndarray[Any, Any]:
    """The edges of cells around ascending centres."""
    values = np.log(centres) if log else np.asarray(centres, dtype=float)
    if len(values) == 1:
        edges = np.array([values[0] - 0.5, values[0] + 0.5])
    else:
        middle = (values[1:] + values[:-1]) / 2
        edges = np.concatenate([[2 * values[0] - middle[0]], middle, [2 * values[-1] - middle[-1]]])
    return np.exp(edges) if log else edges
