"""Figures: which there are, what is in them, and that they come out the same each time."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from result_rows import SKILLS, make_row, make_rows

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from musclelora.benchmark.drawing import Drawing
from musclelora.benchmark.figures import draw, styles
from musclelora.benchmark.leaderboard import leaderboard

FEW = {name: SKILLS[name] for name in ("oracle", "vanilla", "musclelora")}


@pytest.fixture
def drawn(tmp_path: Path) -> Callable[[list[dict[str, Any]]], dict[str, Drawing]]:
    def make(rows: list[dict[str, Any]]) -> dict[str, Drawing]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a missing glyph, a layout that does not fit
            found = draw(leaderboard(rows), rows, tmp_path)
        for drawing in found:
            assert drawing.png.read_bytes().startswith(b"\x89PNG")
            assert drawing.svg.read_text().rstrip().endswith("</svg>")
            assert drawing.alt
        return {drawing.png.stem: drawing for drawing in found}

    return make


def texts(drawing: Drawing) -> list[str]:
    """What is written in the SVG: matplotlib draws letters, and names each text in a comment."""
    return re.findall(r"<!-- (.*?) -->", drawing.svg.read_text())


def plain_rows(**given: Any) -> list[dict[str, Any]]:
    rows = make_rows(**{"seeds": 1, "skills": FEW, **given})
    return [row | {"scale_factors": None, "r": None} for row in rows]


def test_one_rate_and_size_give_the_trade_off_alone(drawn: Any) -> None:
    (drawing,) = drawn(plain_rows()).values()
    shown = texts(drawing)
    for text in (
        "vanilla",
        "musclelora",
        "oracle (clean data)",
        "badnets (mix labels)",
        "ASR (%), low is good",
    ):
        assert text in shown
    assert "Lowest excess ASR + CACC gap" in drawing.alt


def test_many_rates_give_their_figure(drawn: Any) -> None:
    found = drawn(plain_rows(rates=(0.1, 0.01, 0.4)))
    assert set(found) == {"cacc-asr-1", "cacc-asr-2", "cacc-asr-3", "poison-rate-1"}
    shown = texts(found["poison-rate-1"])
    assert [text for text in shown if text in ("1", "10", "40")][:3] == ["1", "10", "40"]
    assert {"20", "100"} <= set(shown)  # the axis holds every defence
    assert "at 1, 10, 40" in found["poison-rate-1"].alt
    assert "poison rate 10" not in found["poison-rate-1"].title


def test_a_rate_of_zero_has_its_place(drawn: Any) -> None:
    assert "poison-rate-1" in drawn(plain_rows(rates=(0.0, 0.1)))


def test_many_trusted_sizes_give_their_figure(drawn: Any) -> None:
    found = drawn(plain_rows(trusted_sizes=(16, 96), rates=(0.1, 0.2), attacks=("badnets",)))
    assert {name for name in found if name.startswith("trusted")} == {"trusted-size-1", "trusted-size-2"}
    assert {name for name in found if name.startswith("poison")} == {"poison-rate-1", "poison-rate-2"}
    shown = texts(found["trusted-size-1"])
    assert "CACC (%), high is good" in shown
    assert "ASR (%), low is good" in shown


def test_different_scale_factors_or_ranks_give_their_figure(drawn: Any) -> None:
    rows = plain_rows(attacks=("badnets",))
    settings = [([1, 2, 4], 1), ([1, 4, 8, 12], 1), ([1, 4, 8, 12], 8), (None, 2)]
    for number, (factors, rank) in enumerate(settings):
        given = {"scale_factors": factors and json.dumps(factors), "r": rank}
        rows.append(make_row(f"mine {number}", cacc=0.8, asr=0.2 + number / 50, **given))
    shown = texts(drawn(rows)["scales-1"])
    assert {"r = 1, scales 1 2 4", "r = 1, scales 1 4 8 12", "r = 8, scales 1 4 8 12", "r = 2"} <= set(shown)
    assert "vanilla" not in shown


def test_the_same_setting_throughout_is_no_figure(drawn: Any) -> None:
    rows = [row | {"scale_factors": "[1, 2]", "r": 1} for row in plain_rows()]
    assert "scales-1" not in drawn(rows)


def test_every_defence_of_a_long_list_looks_different() -> None:
    skills = {"oracle": (0.9, 0.1)} | {f"defence {number}": (0.8, number / 40) for number in range(20)}
    looks = styles(leaderboard(make_rows(skills=skills, seeds=1))).values()
    assert len(looks) == 20
    assert len({(look["marker"], look["linestyle"]) for look in looks}) == 20


def test_labels_that_matplotlib_would_obey_or_hide_are_drawn_as_they_are(drawn: Any) -> None:
    labels = ("_hidden", "$\\frac{$", "a\nb", "x" * 200)
    rows = plain_rows(skills={"oracle": (0.9, 0.1)} | dict.fromkeys(labels, (0.8, 0.2)))
    shown = texts(drawn(rows)["cacc-asr-1"])
    assert {"_hidden", "$\\frac{$", "a b", "x" * 33 + "…"} <= set(shown)


def test_cells_that_failed_leave_gaps_not_errors(drawn: Any) -> None:
    rows = plain_rows(rates=(0.1, 0.2))
    rows = [r for r in rows if not (r["defense"] == "vanilla" and r["rate"] == 0.2)]
    rows = [r | {"oracle_cacc": None, "oracle_asr": None} for r in rows if r["kind"] != "oracle"]
    assert "poison-rate-1" in drawn(rows)
    failed = [make_row("cube", cacc=0, asr=0, status="failed", error="x")]
    assert drawn(failed) == {}


def test_the_same_results_give_the_same_files(drawn: Any) -> None:
    rows = plain_rows()
    first = [(d.png.read_bytes(), d.svg.read_bytes()) for d in drawn(rows).values()]
    assert [(d.png.read_bytes(), d.svg.read_bytes()) for d in drawn(rows).values()] == first
