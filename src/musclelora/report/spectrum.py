"""What a run's Fourier analysis says, where `musclelora spectrum` recorded one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup

_WIDTH, _HEIGHT = 600, 160
_BANDS: Final = (("e_low", "low"), ("e_high", "high"))


@dataclass(frozen=True)
class Curves:
    """How fast a group of rows was learned, by frequency.

    Attributes:
        name: of the group.
        rows: how many it has.
        chart: the error of the low and the high band over the steps.
    """

    name: str
    rows: int
    chart: Markup


@dataclass(frozen=True)
class Spectrum:
    """The Fourier analysis of a run.

    Attributes:
        run: its name, method and data, as the analysis has them.
        groups: the curves of each group of rows.
        steps: the first and the last step that was recorded.
        top: the error at the upper edge of every chart.
        diagnosis: what the analysis says, a sentence each.
    """

    run: dict[str, Any]
    groups: list[Curves]
    steps: tuple[float, float]
    top: float
    diagnosis: list[str]


def spectrum_of(run: str | os.PathLike[str]) -> Spectrum | None:
    """The Fourier analysis in a run folder; None where the run recorded none.

    Raises:
        DataError: the analysis is not finished, or damaged.
    """
    from musclelora.spectrum.analysis import load_analysis
    from musclelora.spectrum.sample import FOLDER

    folder = Path(run)
    if not (folder / FOLDER).is_dir():
        return None
    found = load_analysis(folder)
    values = [
        value
        for curves in found["curves"].values()
        for name, _ in _BANDS
        for value in curves[name]["value"]
        if value is not None
    ]
    top = max([1.0, *values])
    groups = [
        Curves(name, found["groups"][name]["rows"], _chart(found["steps"], curves, top))
        for name, curves in found["curves"].items()
    ]
    steps = (found["steps"][0], found["steps"][-1])
    about = found.get("run") if isinstance(found.get("run"), dict) else {}
    return Spectrum(about or {}, groups, steps, top, [line["text"] for line in found["diagnosis"]])


def _chart(steps: Sequence[float], curves: dict[str, Any], top: float) -> Markup:
    """The two errors over the steps, each with its 95 % interval."""
    drawn = Markup("")
    for name, band in _BANDS:
        curve = curves[name]
        ends = [
            (_place(steps, n, low, top), _place(steps, n, high, top))
            for n, (low, high) in enumerate(zip(curve["low"], curve["high"], strict=True))
            if low is not None and high is not None
        ]
        around = " ".join([low for low, _ in ends] + [high for _, high in reversed(ends)])
        line = " ".join(_place(steps, n, v, top) for n, v in enumerate(curve["value"]) if v is not None)
        drawn += Markup('<polygon class="{0}" points="{1}"/><polyline class="{0}" points="{2}"/>').format(
            band, around, line
        )
    return Markup(
        '<svg class="chart curves" viewBox="0 0 {} {}" height="160" preserveAspectRatio="none" '
        'aria-hidden="true" focusable="false">{}</svg>'
    ).format(_WIDTH, _HEIGHT, drawn)


def _place(steps: Sequence[float], number: int, value: float, top: float) -> str:
    whole = (steps[-1] - steps[0]) or 1.0
    x = _WIDTH * (steps[number] - steps[0]) / whole
    y = _HEIGHT * (1 - min(max(value / top, 0.0), 1.0))
    return f"{x:.1f},{y:.1f}"
