"""Figures are drawn from results and written whole."""

from __future__ import annotations

from pathlib import Path

import pytest


def test_the_bar_chart_is_a_png_of_every_method(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from musclelora.report.figures import cacc_asr_figure

    rows = [
        {"attack": attack, "method": method, "seeds": 1, "cacc": 0.9, "asr": 0.1}
        for attack in ("addsent", "badnets")
        for method in ("oracle", "vanilla")
    ]
    cacc_asr_figure(rows, tmp_path / "results.png")
    assert (tmp_path / "results.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["results.png"]
