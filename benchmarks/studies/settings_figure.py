"""The figure of docs/settings.md: CACC against ASR of each setting of the published method.

python benchmarks/studies/settings_figure.py benchmarks/results/settings/addsent.csv docs/settings.png
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

EARLIER = {"musclelora-auto": "purify"}  # the name when the file was recorded
COMPARED = {"purify": "#b04a00", "oracle": "#222222", "trusted-only": "#222222"}
# Where a name goes, in points from its mark; settings in the crowd have none, the table has them.
NAMES = {
    "oracle": (7, 6, "left"),
    "trusted-only": (0, -26, "center"),
    "purify": (-7, 7, "right"),
    "as published": (-7, 6, "right"),
    "pcgrad": (-8, 6, "right"),
    "not aligned": (-8, -13, "right"),
    "ρ up to 0.5, trusted loss under 0.2": (7, 6, "left"),
    "ρ up to 0.5, trusted loss 0": (5, 6, "left"),
    "2 epochs": (7, 5, "left"),
    "multi-scale everywhere": (7, 5, "left"),
    "LoRA rank 2": (6, -13, "left"),
    "LoRA rank 32": (7, 5, "left"),
}


def main() -> None:
    """Draw the rows of the first file into the second."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("figure", type=Path)
    options = parser.parse_args()
    with options.results.open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    figure, axes = plt.subplots(figsize=(8, 5))
    for row in rows:
        name = EARLIER.get(row["defense"], row["defense"])
        (x, left, right), (y, low, high) = (
            (100 * float(row[rate]), 100 * float(row[f"{rate}_low"]), 100 * float(row[f"{rate}_high"]))
            for rate in ("asr", "cacc")
        )
        axes.errorbar(
            x,
            y,
            xerr=[[x - left], [right - x]],
            yerr=[[y - low], [high - y]],
            fmt="D" if name in COMPARED else "o",
            markersize=7 if name in COMPARED else 5,
            color=COMPARED.get(name, "#3b6ea5"),
            elinewidth=0.4,
        )
        if name in NAMES:
            across, up, side = NAMES[name]
            axes.annotate(name, (x, y), xytext=(across, up), textcoords="offset points", ha=side, fontsize=8)
    axes.set(xlabel="ASR, %", ylabel="CACC, %", xlim=(-5, 105))
    axes.set_title("SST-2, AddSent, 1,000 rows, one seed; thin lines: 95 % intervals", fontsize=9)
    axes.grid(alpha=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(options.figure, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
