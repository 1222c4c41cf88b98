"""One cell: what its row says, also when it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_grids import WriteGrid, made_up, plan_of

from musclelora.benchmark import cell as cells
from musclelora.benchmark.store import COLUMNS

JOINED = {"oracle_cacc", "oracle_asr", "excess_asr", "cacc_gap"}


def test_a_row_has_every_column_and_is_json(write_grid: WriteGrid, tmp_path: Path) -> None:
    defenses = [{"name": "lora", "label": "LoRA, r=2", "r": 2}]
    oracle, lora = plan_of(
        write_grid(attacks=[{"family": "badnets", "label_mode": "clean"}], defenses=defenses)
    )
    row = cells.run_cell(lora, kept=tmp_path / "kept", threads=1)
    assert row["status"] == "done", row
    assert row.keys() - {"seconds"} == COLUMNS.keys() - JOINED
    json.dumps(row, allow_nan=False)
    assert (row["attack"], row["label_mode"], row["rate"]) == ("badnets", "clean", 0.1)
    assert (row["defense"], row["kind"], row["r"], row["scale_factors"]) == ("LoRA, r=2", "training", 2, None)
    assert (row["cacc_n"], row["asr_n"], row["trusted_size"]) == (16, 8, 6)
    row = cells.run_cell(oracle, kept=tmp_path / "kept", threads=1)
    assert (row["kind"], row["defense"], row["rate"], row["trusted_size"]) == ("oracle", "oracle", None, None)


def test_a_folder_that_cannot_be_written_is_done_without(write_grid: WriteGrid) -> None:
    cell = plan_of(write_grid())[0]
    assert cells.run_cell(cell, kept=Path("/proc/nothing"))["status"] == "done"


def test_numbers_that_are_none_are_left_out(write_grid: WriteGrid, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*_: object) -> object:
        return type("Measured", (), {**dict.fromkeys(COLUMNS, float("nan")), "cacc": rate, "asr": rate})

    rate = type("Rate", (), made_up_rate())
    monkeypatch.setattr(cells, "_measure", measured)
    row = cells.run_cell(plan_of(write_grid())[0])
    assert row["auroc"] is None
    json.dumps(row, allow_nan=False)


def made_up_rate() -> dict[str, float]:
    return {"value": 0.5, "low": 0.4, "high": 0.6, "n": 10}


@pytest.mark.parametrize(
    "error", [ValueError("half a \ud800 character\nand more"), MemoryError(), KeyError("x")]
)
def test_an_error_becomes_one_line_that_can_be_written(
    write_grid: WriteGrid, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(cells, "_measure", fails)
    row = cells.run_cell(plan_of(write_grid())[0])
    assert row["status"] == "failed"
    assert type(error).__name__ in row["error"]
    assert "\n" not in row["error"]
    assert "Traceback" in row["details"]
    json.dumps(row, ensure_ascii=False).encode("utf-8")
    assert row.keys() <= made_up(plan_of(write_grid())[0]).keys() | {"details"}
