"""Figures of one or several analyses."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
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
    groups = max(len(found["groups"]) for found in runs.values())
    figure = Figure(figsize=(3.4 * 2 * len(runs), 2.8 * groups + 0.6), layout="constrained")
    axes = figure.subplots(groups, 2 * len(runs), squeeze=False)
    panels = [(run, key) for run in runs for key in _NAMES]
    image = None
    for column, (run, key) in enumerate(panels):
        names = list(runs[run]["groups"])
        for row, axis in enumerate(axes[:, column]):
            if row < len(names):
                image = _heat_map(axis, run, runs, names[row], key) or image
            else:
                axis.set_axis_off()
    if image is not None:
        figure.colorbar(image, ax=axes, label="relative error of the band", shrink=0.8)
    return figure


def _heat_map(axis: Axes, run: str, runs: Runs, group: str, key: str) -> Any:
    """What the scale of a panel's colours is made from; None where its labels have no such band."""
    found = runs[run]
    values = np.array(found["curves"][group][key]["by_sigma"], dtype=float).T  # None becomes NaN
    axis.set_title(f"{_label(run, runs)}{_shown(group)}: {_NAMES[key]}\n{_rows(found, group)}", fontsize=8)
    if np.isnan(values).all():
        axis.text(0.5, 0.5, "the labels have\nno such band", ha="center", va="center", fontsize=8)
        axis.set_axis_off()
        return None
    axis.patch.set(hatch="xx", edgecolor=SOFT)  # seen where there is no error, which is not an error of 0
    steps, count = np.array(found["steps"], dtype=float), len(found["sigmas"])
    edges = np.concatenate([steps[:1], (steps[1:] + steps[:-1]) / 2, steps[-1:]])
    levels = BoundaryNorm(np.linspace(0, 1, 11), 256, extend="max")
    image = axis.pcolormesh(edges, np.arange(count + 1) - 0.5, values, cmap=SCALE, norm=levels)
    shown = sorted({0, count // 2, count - 1})
    axis.set_yticks(shown, [f"{found['sigmas'][place]:.3g}" for place in shown])
    axis.set_xlabel("step", fontsize=8)
    axis.set_ylabel("σ (small: fine detail counts as low)", fontsize=7)
    axis.tick_params(labelsize=7)
    return image


def curves(runs: Runs) -> Figure:
    """The band errors over steps, the mean over σ, with 95 % intervals; a panel for each run and band."""
    figure = Figure(figsize=(4.2 * len(runs), 6), layout="constrained")
    axes = figure.subplots(2, len(runs), squeeze=False, sharey="row")
    for column, (run, found) in enumerate(runs.items()):
        steps = found["steps"]
        for axis, (key, title) in zip(axes[:, column], _NAMES.items(), strict=True):
            for number, group in enumerate(found["groups"]):
                curve = found["curves"][group][key]
                value, low, high = (np.array(curve[name], dtype=float) for name in ("value", "low", "high"))
                if not np.isnan(value).all():
                    line = _line(axis, number, steps, value, found, group, max(len(steps) // 12, 1))
                    axis.fill_between(steps, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
            axis.set_title(f"{_label(run, runs)}{title}", fontsize=9)
            axis.set_xlabel("step")
            if axis.lines:
                axis.legend(fontsize=7)
    for axis in axes[:, 0]:
        axis.set_ylabel("relative error (mean over σ, 95 %)")
        axis.set_ylim(bottom=0)  # the panels share it; earlier, and the first would set the top for all
    return figure


def band_shares(runs: Runs) -> Figure:
    """LFR and HFR of the labels and of the last outputs, the mean over σ, with 95 % intervals."""
    figure = Figure(figsize=(4.2 * len(runs), 3.6), layout="constrained")
    axes = figure.subplots(1, len(runs), squeeze=False, sharey=True)[0]
    for axis, (run, found) in zip(axes, runs.items(), strict=True):
        width = 0.8 / (2 * len(found["groups"]))
        for number, group in enumerate(found["groups"]):
            bar = {"width": width, "edgecolor": INK, "hatch": HATCHES[number % len(HATCHES)]}
            what = f"{_shown(group)} ({_rows(found, group)})"
            for place, key in enumerate(("lfr", "hfr")):
                curve = found["curves"][group][key]
                value, low, high = (curve[name][-1] for name in ("value", "low", "high"))
                at = place + (2 * number - len(found["groups"]) + 0.5) * width
                said = (f"labels, {what}", f"outputs, {what}") if not place else (None, None)
                axis.bar(at, np.mean(found["labels"][group][key]), color="1.0", label=said[0], **bar)
                axis.bar(at + width, value, color=PALE, label=said[1], **bar)
                ends = [[max(value - low, 0)], [max(high - value, 0)]]
                axis.errorbar(at + width, value, ends, color=INK, capsize=2)
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
        titles = {"labels": "labels", "last": f"outputs, step {found['steps'][-1]:.0f}"}
        for axis, (what, title) in zip(axes[:, column], titles.items(), strict=True):
            for number, group in enumerate(found["groups"]):
                power = np.array(spectrum[what][group], dtype=float)
                _line(axis, number, np.arange(len(power)), power, found, group, (3 * number, 12))
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter(powers_of_ten())
            axis.yaxis.set_minor_formatter(NullFormatter())
            axis.set_title(f"{_label(run, runs)}{title}", fontsize=9)
            axis.legend(fontsize=7)
        axes[1][column].set_xlabel(
            f"cycles over the extent, {spectrum['directions']} principal directions", fontsize=8
        )
    for axis in axes[:, 0]:
        axis.set_ylabel("power")
    return figure


def _line(axis: Axes, number: int, x: Any, y: Any, found: dict[str, Any], group: str, every: Any) -> Any:
    """Draw a group's line, with a marker at every so many points."""
    label = f"{_shown(group)} ({_rows(found, group)})"
    return axis.plot(x, y, **line_style(number), markersize=3, markevery=every, label=label)[0]


def _label(run: str, runs: Runs) -> str:
    return f"{_shown(run)}, " if len(runs) > 1 else ""


def _shown(name: str) -> str:
    """A name as it is written; what no font and no SVG has is replaced."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def _rows(found: dict[str, Any], group: str) -> str:
    return f"{found['groups'][group]['rows']:,} rows"
