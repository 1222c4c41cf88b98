"""A tiny backbone on disk, tables that it can learn, and short runs."""

from __future__ import annotations

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # what is compared bit by bit is computed on the CPU

from pathlib import Path
from typing import Any

import pytest
from tiny_runs import Fit, make_rows, make_table, write_model

from musclelora.data.table import Table
from musclelora.purification import METHODS, Run, train_classifier


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of width 32 with dropout, as a folder."""
    return write_model(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="session")
def tiny_deberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DeBERTa-v2, whose relative positions pass all rows through one dense layer at once."""
    changes = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
    return write_model(tmp_path_factory.mktemp("models") / "deberta", "DebertaV2Config", **changes)


@pytest.fixture(scope="session")
def still_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny BERT without dropout."""
    changes = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return write_model(tmp_path_factory.mktemp("models") / "still", **changes)


@pytest.fixture(scope="session")
def train_rows() -> Table:
    return make_table(make_rows(30, seed=0))


@pytest.fixture(scope="session")
def trusted_rows() -> Table:
    return make_table(make_rows(10, seed=1))


@pytest.fixture(scope="session")
def dev_rows() -> Table:
    return make_table(make_rows(20, seed=2))


@pytest.fixture
def fit_tiny(
    tiny_model: Path, train_rows: Table, trusted_rows: Table, dev_rows: Table, tmp_path: Path
) -> Fit:
    """Train a method for two epochs of four steps; keywords change anything."""

    def run(output: Path | None = None, method: str = "musclelora", **changes: Any) -> Run:
        arguments = {
            "num_train_epochs": 2,
            "per_device_train_batch_size": 8,
            "learning_rate": 1e-2,
            "logging_steps": 3,
            "disable_tqdm": True,
            "use_cpu": True,
            **changes.pop("arguments", {}),
        }
        settings: dict[str, Any] = {
            "train": train_rows,
            "trusted": trusted_rows,
            "dev": dev_rows,
            "model": str(tiny_model),
            "method": METHODS[method] if isinstance(method, str) else method,
            **changes,
        }
        return train_classifier(output or tmp_path / "run", arguments=arguments, **settings)

    return run
