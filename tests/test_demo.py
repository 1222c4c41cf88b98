"""The demo, made small; `make demo` runs it at its own size."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from musclelora import demo
from musclelora.benchmark.grid import load_grid
from musclelora.benchmark.plan import plan
from musclelora.errors import OutputError

METHODS = ["oracle", "vanilla", "lora", "trusted-only", "musclelora", "purify"]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    grid = yaml.safe_load(demo.GRID.read_text())
    grid["data"][0] |= {"train_rows": 40, "test_rows": 30}
    grid["training"] |= {"max_length": 16, "num_train_epochs": 1}
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(grid | {"attacks": ["addsent"], "trusted_sizes": [10]}))
    return file


def test_the_demo_is_a_grid_of_two_attacks_and_six_methods() -> None:
    grid = load_grid(demo.GRID)
    cells = plan(grid, bf16=False)
    found = {(cell.attack.name, cell.label) for cell in cells}
    assert found == {(attack, method) for attack in ("addsent", "badnets") for method in METHODS}


@pytest.mark.integration
def test_a_demo_measures_every_method_and_goes_on_where_it_stopped(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    rows = demo.run_demo(folder, grid_file=small, workers=2, say=lambda _: None)
    assert [(row["attack"], row["method"]) for row in rows] == [("addsent", method) for method in METHODS]
    assert rows[0]["excess_asr"] == 0.0
    for row in rows:
        assert row["excess_asr"] == pytest.approx(row["asr"] - rows[0]["asr"])
        assert row["cacc_gap"] == pytest.approx(rows[0]["cacc"] - row["cacc"])
    written = {file.name: file.stat().st_mtime_ns for file in (folder / "cells").iterdir()}
    assert len(written) == len(METHODS)
    assert demo.run_demo(folder, grid_file=small, say=lambda _: None) == rows
    assert {file.name: file.stat().st_mtime_ns for file in (folder / "cells").iterdir()} == written


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="files that no benchmark wrote"):
        demo.run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
