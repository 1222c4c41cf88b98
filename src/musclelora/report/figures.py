"""The picture of a demo's results."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from musclelora.figures import ACCENT, INK, PALE, save, style


def cacc_asr_figure(rows: list[dict[str, Any]], path: str | os.PathLike[str]) -> None:
    """Bars of clean accuracy and attack success rate, one panel for each attack.

    Args:
        rows: each has attack, method, seeds, cacc and asr, the last two as fractions.
        path: the PNG or SVG file to write.
    """
    with style():
        save(_drawn(rows), Path(path))


def _drawn(rows: list[dict[str, Any]]) -> Figure:
    attacks = list(dict.fromkeys(row["attack"] for row in rows))
    figure = Figure(figsize=(4.2 * len(attacks), 3.6), layout="constrained")
    panels = figure.subplots(1, len(attacks), sharey=True, squeeze=False)[0]
    for panel, attack in zip(panels, attacks, strict=True):
        group = [row for row in rows if row["attack"] == attack]
        for offset, name, label, shade in (
            (-0.2, "cacc", "CACC (high is good)", PALE),
            (0.2, "asr", "ASR (low is good)", ACCENT),
        ):
            values = [100 * row[name] for row in group]
            places = [index + offset for index in range(len(group))]
            bars = panel.bar(places, values, width=0.4, color=shade, edgecolor=INK, label=label)
            panel.bar_label(bars, fmt="%.0f", fontsize=8)
        floor = next((100 * row["asr"] for row in group if row["method"] == "oracle"), None)
        if floor is not None:
            panel.axhline(floor, color=INK, linewidth=0.8, linestyle="--", label="ASR of the oracle")
        panel.set_xticks(range(len(group)), [row["method"] for row in group], rotation=30, ha="right")
        panel.set_title(f"{attack} ({group[0]['seeds']} seed{'s' if group[0]['seeds'] > 1 else ''})")
        panel.set_ylim(0, 112)
    panels[0].set_ylabel("% of test rows")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
