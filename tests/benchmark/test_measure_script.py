"""The script that measures everything writes a grid that can be run, of what was asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny_runs import make_rows, write_csv

from musclelora.benchmark.grid import load_grid

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "measure.py"
PARAPHRASED = ("synbkd", "stylebkd")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder in OpenBackdoor's layout, with tiny tables."""
    folder = tmp_path / "data"
    for seed, table in enumerate(("train-clean", "test-clean", "dev-clean", "train-poison", "test-poison")):
        for attack in ("badnets", *PARAPHRASED):
            (folder / attack).mkdir(parents=True, exist_ok=True)
            write_csv(folder / attack / f"{table}.csv", make_rows(500, seed))
    return folder


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([], (5, 6, 3)),
        (["--quick"], (5, 2, 1)),
        (["--only", "purify,lora,stylebkd-lower", "--seeds", "2"], (1, 2, 2)),
    ],
)
def test_the_grid_is_what_was_asked_for(
    asked: list[str], expected: tuple[int, int, int], data: Path, tmp_path: Path, tiny_model: Path
) -> None:
    more = ["--backbone", tiny_model, "--rows", "40", "--data", data, "--dry-run"]
    command = [sys.executable, SCRIPT, "--output", tmp_path / "out", *more, *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    file = tmp_path / "out" / "grid.yaml"
    raw = yaml.safe_load(file.read_text())
    assert (len(raw["attacks"]), len(raw["defenses"])) == expected[:2]
    grid = load_grid(file)
    assert len(grid.seeds) == expected[2]
    assert list(grid.models) == [str(tiny_model)]
    assert "oracle" in done.stdout


def test_a_name_that_is_not_known_is_refused(data: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        SCRIPT,
        "--output",
        tmp_path / "out",
        "--data",
        data,
        "--only",
        "purfy, badnets",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "--only: found 'purfy', expected some of" in done.stderr


@pytest.mark.integration
@pytest.mark.slow  # eight processes that train
def test_what_was_recorded_is_not_run_again(data: Path, tmp_path: Path, tiny_model: Path) -> None:
    record = tmp_path / "record.json"
    more = ["--backbone", tiny_model, "--rows", "40", "--data", data, "--record", record, "--seeds", "1"]

    def measured(folder: str, only: str) -> str:
        command = [sys.executable, SCRIPT, "--output", tmp_path / folder, "--only", only, *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stderr

    measured("one", "vanilla,badnets")
    rows = json.loads(record.read_text())["rows"]
    assert {row["defense"] for row in rows} == {"oracle", "vanilla"}
    assert all(row["commit"] and row["transformers"] for row in rows)
    assert {row["attack"] for row in rows} == {"badnets"}
    assert "2 of them finished before" in measured("two", "vanilla,badnets")
    assert json.loads(record.read_text())["rows"] == rows
    assert "2 of them finished before" in measured("three", "vanilla,badnets,addsent")
    more_rows = json.loads(record.read_text())["rows"]
    assert len(more_rows) == 4
    assert [row for row in more_rows if row["attack"] == "badnets"] == rows
