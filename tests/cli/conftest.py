"""The command line in this process, tables as files, and a finished run."""

from __future__ import annotations

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # what is compared bit by bit is computed on the CPU

import shutil
from pathlib import Path

import pytest
from tiny_runs import make_rows, write_csv, write_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT."""
    return write_model(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of train.csv, trusted.csv, dev.csv and test.csv."""
    folder = tmp_path_factory.mktemp("files")
    for name, (count, seed) in {"train": (24, 0), "trusted": (8, 1), "dev": (12, 2), "test": (20, 3)}.items():
        write_csv(folder / f"{name}.csv", make_rows(count, seed))
    return folder


@pytest.fixture(scope="session")
def arguments(model: Path, files: Path) -> list[object]:
    """A training command without its output."""
    return [
        *("train", "--train", files / "train.csv", "--trusted", files / "trusted.csv", "--model", model),
        *("--epochs", 1, "--batch-size", 8, "--learning-rate", "1e-2"),
    ]


@pytest.fixture(scope="session")
def finished(model: Path, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, which no test may change."""
    from musclelora.data import load_table
    from musclelora.purification import METHODS, train_classifier

    return train_classifier(
        tmp_path_factory.mktemp("runs") / "finished",
        train=load_table(files / "train.csv"),
        trusted=load_table(files / "trusted.csv"),
        model=str(model),
        method=METHODS["musclelora"],
        arguments={"num_train_epochs": 1, "use_cpu": True, "disable_tqdm": True},
    ).path


@pytest.fixture
def run_folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to do anything to."""
    return shutil.copytree(finished, tmp_path / "run")
