"""Figures have one look, which those who see no colours and grey print keep."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

import matplotlib as mpl
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import musclelora
from musclelora.figures import ACCENT, COLORS, PALE, SCALE, line_style, powers_of_ten, save, style

SOURCE = Path(musclelora.__file__).parent
# Machado, Oliveira and Fernandes (2009), severity 1: what those without one kind of cone see.
NO_CONES = {
    "long": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "middle": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.01182, 0.04294, 0.968881],
    ],
}


def linear(color: object) -> np.ndarray:
    """A colour in linear light (IEC 61966-2-1)."""
    channel = np.array(to_rgb(color))
    return np.where(channel <= 0.04045, channel / 12.92, ((channel + 0.055) / 1.055) ** 2.4)


def luminance(color: object) -> float:
    """The luminance of a colour (WCAG 2.2)."""
    return float(linear(color) @ [0.2126, 0.7152, 0.0722])


def contrast(one: object, other: object) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("color", [*COLORS, ACCENT])
def test_a_line_is_seen_on_paper(color: str) -> None:
    assert contrast(color, "white") >= 3


def test_the_two_kinds_of_bars_differ_in_grey() -> None:
    assert contrast(PALE, ACCENT) >= 3


def test_a_map_gets_darker_to_everybody_as_values_grow() -> None:
    shades = mpl.colormaps[SCALE](np.linspace(0, 1, 32))[:, :3]
    assert (np.diff([luminance(shade) for shade in shades]) < 0).all()
    for cones in NO_CONES.values():
        seen = [float(np.array(cones) @ linear(s) @ [0.2126, 0.7152, 0.0722]) for s in shades]
        assert (np.diff(seen) < 0).all()


def test_lines_are_told_apart_without_colours() -> None:
    assert len({(one["marker"], one["linestyle"]) for one in map(line_style, range(52))}) == 52


def test_powers_of_ten_need_no_formula() -> None:
    assert [powers_of_ten()(value, None) for value in (1, 10, 1e-3, 1e12)] == ["10⁰", "10¹", "10⁻³", "10¹²"]


def test_a_figure_comes_out_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        with style():
            figure = Figure()
            figure.subplots().set_title(r"$\frac$ is no formula")
            save(figure, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert r"$\frac$ is no formula" in (tmp_path / "one.svg").read_text()


def test_no_room_has_a_look_of_its_own() -> None:
    own = re.compile(r"rc_context|savefig|cmap=\"|#[0-9a-fA-F]{6}\b")
    drawing = [path for path in SOURCE.rglob("*.py") if "matplotlib" in path.read_text(encoding="utf-8")]
    found = [path.name for path in drawing if own.search(path.read_text(encoding="utf-8"))]
    assert found == ["figures.py"]
