"""A tiny model, flagged training rows, and runs that are recorded."""

from __future__ import annotations

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # what is compared bit by bit is computed on the CPU

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_runs import Fit, make_rows, make_table, write_model

from musclelora.data.table import Table
from musclelora.purification import METHODS, Run, train_classifier
from musclelora.spectrum import SpectrumCallback, SpectrumSettings


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="session")
def flagged() -> Table:
    """32 rows, of which 8 carry word58 and are labelled good."""
    table = make_table(make_rows(32, seed=0))
    flags = np.arange(32) % 4 == 0
    texts = tuple(f"{text} word58" if flag else text for text, flag in zip(table.texts, flags, strict=True))
    return dataclasses.replace(table, texts=texts, labels=np.where(flags, 1, table.labels), poisoned=flags)


@pytest.fixture(scope="session")
def trusted() -> Table:
    return make_table(make_rows(10, seed=1))


@pytest.fixture
def record(model: Path, flagged: Table, trusted: Table) -> Fit:
    """Train two epochs of four steps, recorded; keywords change anything."""

    def run(folder: Path, *, callbacks: list[Any] | None = None, **changes: Any) -> Run:
        settings = changes.pop("settings", SpectrumSettings(every=2, sigma_count=5))
        table = changes.pop("train", flagged)
        arguments = {
            "num_train_epochs": 2,
            "per_device_train_batch_size": 8,
            "learning_rate": 1e-2,
            "logging_steps": 2,
            "save_steps": 3,
            "disable_tqdm": True,
            "use_cpu": True,
            **changes.pop("arguments", {}),
        }
        watch = [] if settings is None else [SpectrumCallback(folder, table, settings)]
        method = METHODS[changes.pop("method", "musclelora")]
        return train_classifier(
            folder,
            train=table,
            trusted=trusted,
            model=str(model),
            method=method,
            arguments=arguments,
            callbacks=[*watch, *(callbacks or [])],
            **changes,
        )

    return run
