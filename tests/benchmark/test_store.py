"""The results folder: what is kept, what is refused, and the table."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from tiny_grids import WriteGrid, made_up, plan_of

from musclelora.benchmark.cell import failed_row
from musclelora.benchmark.grid import load_grid
from musclelora.benchmark.store import COLUMNS, open_store, read_begun, results_table
from musclelora.errors import OutputError


def opened(file: Path, folder: Path):
    return open_store(folder, file, load_grid(file), plan_of(file), bf16=False)


def test_rows_are_durable_at_once_and_make_one_tidy_table(write_grid: WriteGrid, tmp_path: Path) -> None:
    file, folder = write_grid(), tmp_path / "out"
    oracle, vanilla, lora = plan_of(file)
    with opened(file, folder) as store:
        store.write(made_up(lora, asr=0.75, r=None, auroc=None))
        store.write(failed_row(vanilla, "no\nluck", "Traceback"))
        store.write(made_up(oracle, cacc=0.9, asr=0.25))
        assert [store.is_done(cell.id) for cell in (oracle, vanilla, lora)] == [True, False, True]
    table = results_table(folder)
    assert list(table.columns) == list(COLUMNS)
    assert table["cell"].tolist() == [oracle.id, vanilla.id, lora.id]  # the order of the grid
    assert table["status"].tolist() == ["done", "failed", "done"]
    assert table["error"][1] == "no luck"
    assert table["excess_asr"][2] == pytest.approx(0.5)
    assert table["cacc_gap"][2] == pytest.approx(0.4)
    assert table.loc[1, ["cacc", "excess_asr"]].isna().all()
    pd.testing.assert_frame_equal(pd.read_parquet(folder / "results.parquet"), table)
    assert pd.read_csv(folder / "results.csv")["cell"].tolist() == table["cell"].tolist()
    assert (folder / "grid.yaml").read_bytes() == file.read_bytes()
    assert json.loads((folder / "cells" / f"{vanilla.id}.json").read_text())["details"] == "Traceback"


def test_without_its_oracle_a_row_has_no_excess(write_grid: WriteGrid, tmp_path: Path) -> None:
    file, folder = write_grid(), tmp_path / "out"
    oracle, vanilla, _ = plan_of(file)
    with opened(file, folder) as store:
        store.write(made_up(vanilla))
        store.write(failed_row(oracle, "none"))
    assert (
        results_table(folder)[["oracle_cacc", "oracle_asr", "excess_asr", "cacc_gap"]].isna().all(axis=None)
    )


def test_a_grid_that_grew_goes_on_in_the_same_folder(write_grid: WriteGrid, tmp_path: Path) -> None:
    file, folder = write_grid(), tmp_path / "out"
    with opened(file, folder) as store:
        for cell in plan_of(file):
            store.write(made_up(cell))
    more = write_grid(seeds=[0, 1], defenses=["vanilla", "lora", "trusted-only"])
    with opened(more, folder) as store:
        assert sum(store.is_done(cell.id) for cell in plan_of(more)) == 3
    assert len(read_begun(folder)["cells"]) == 8
    assert len(results_table(folder)) == 3


def test_another_grid_is_refused_and_nothing_is_lost(write_grid: WriteGrid, tmp_path: Path) -> None:
    file, folder = write_grid(), tmp_path / "out"
    with opened(file, folder) as store:
        store.write(made_up(plan_of(file)[0]))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    other = write_grid("other.yaml", trusted_sizes=[4])
    with pytest.raises(OutputError, match=r"another grid \(2 of its 3 cells are not in this one\)"):
        opened(other, folder).__enter__()
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_one_run_at_a_time(write_grid: WriteGrid, tmp_path: Path) -> None:
    file = write_grid()
    with (
        opened(file, tmp_path / "out"),
        pytest.raises(OutputError, match=r"musclelora benchmark run .* is writing in it"),
        opened(file, tmp_path / "out"),
    ):
        pass
    with opened(file, tmp_path / "out"):
        pass  # once it has ended


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('{"format": 2}', "its results are of format 2, expected 1"),
        ("[]", "its results are of format None"),
        ("{", "cannot be read"),
        ('{"format": 1}', "bf16: found nothing, expected a value"),
        ('{"format": 1, "bf16": false, "grid": {}, "cells": ["../x"]}', r"cells\[0\]: found '../x'"),
    ],
)
def test_a_folder_of_another_version_is_refused(
    write_grid: WriteGrid, tmp_path: Path, content: str, expected: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "grid.json").write_text(content)
    with pytest.raises(OutputError, match=expected):
        opened(write_grid(), tmp_path / "out").__enter__()
    with pytest.raises(OutputError, match=expected):
        results_table(tmp_path / "out")
    assert (tmp_path / "out" / "grid.json").read_text() == content


def test_what_no_benchmark_wrote_is_left_alone(write_grid: WriteGrid, tmp_path: Path) -> None:
    file = write_grid()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("dear")
    with pytest.raises(OutputError, match="it holds files that no benchmark wrote"):
        opened(file, tmp_path / "folder").__enter__()
    with pytest.raises(OutputError, match=r"it holds .*grid.yaml, which this command reads"):
        opened(file, tmp_path).__enter__()
    with pytest.raises(OutputError, match="found a file, expected a folder"):
        opened(file, file).__enter__()
    with pytest.raises(OutputError, match=r"no grid.json in it"):
        results_table(tmp_path)


def test_what_a_kill_left_half_written_is_as_if_it_had_not_been(
    write_grid: WriteGrid, tmp_path: Path
) -> None:
    file, folder = write_grid(), tmp_path / "out"
    cells = plan_of(file)
    with opened(file, folder) as store:
        store.write(made_up(cells[0]))
    (folder / "cells" / f"{cells[1].id}.json").write_text('{"cell": "')
    (folder / "cells" / f".{cells[2].id}.json.x1.json").write_text("{")
    (folder / ".results.csv.x1.csv").write_text("")
    with opened(file, folder) as store:
        assert [store.is_done(cell.id) for cell in cells] == [True, False, False]
    assert not [path for path in folder.rglob(".*") if path.name != ".lock"]


def test_a_cell_of_something_else_is_run_again(write_grid: WriteGrid, tmp_path: Path) -> None:
    file, folder = write_grid(), tmp_path / "out"
    cells = plan_of(file)
    with opened(file, folder) as store:
        for cell in cells:
            store.write(made_up(cell))
    for cell, content in zip(cells, ("{}", '{"cell": 1}'), strict=False):
        (folder / "cells" / f"{cell.id}.json").write_text(content)
    with opened(file, folder) as store:
        assert [store.is_done(cell.id) for cell in cells] == [False, False, *[True] * (len(cells) - 2)]
