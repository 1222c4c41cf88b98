"""A tiny model, tiny tables and a grid of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
from tiny_grids import GRID, WriteGrid
from tiny_runs import make_rows, write_csv, write_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture
def write_grid(tmp_path: Path, tiny_model: Path) -> WriteGrid:
    """Writes ``grid.yaml`` in a folder with the tables that it names; keywords replace its keys."""
    for name, (count, seed) in {"train": (40, 0), "trusted": (12, 1), "test": (16, 2)}.items():
        write_csv(tmp_path / f"{name}.csv", make_rows(count, seed))

    def write(name: str = "grid.yaml", **keys: object) -> Path:
        grid = {"models": [str(tiny_model)], **GRID, **keys}
        file = tmp_path / name
        file.write_text(yaml.safe_dump({k: v for k, v in grid.items() if v is not None}, sort_keys=False))
        return file

    return write
