"""A tiny backbone and a setting with a trigger that it can learn."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
from tiny_runs import make_rows, make_table, write_model
from tiny_settings import ARGUMENTS, TARGET, TRIGGER

from musclelora.data.table import Table
from musclelora.defenses import Setting


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    changes = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return write_model(tmp_path_factory.mktemp("models") / "bert", **changes)


@pytest.fixture(scope="session")
def poisoned() -> Table:
    """80 rows, of which every fifth has the trigger in front and the target label."""
    clean = make_table([(text.replace(TRIGGER, "word57"), label) for text, label in make_rows(80, seed=0)])
    flags = np.arange(80) % 5 == 0
    texts = tuple(f"{TRIGGER} {t}" if flag else t for t, flag in zip(clean.texts, flags, strict=True))
    return Table(texts, np.where(flags, TARGET, clean.labels), clean.label_names, flags)


@pytest.fixture(scope="session")
def trusted() -> Table:
    return make_table([(text.replace(TRIGGER, "word57"), label) for text, label in make_rows(20, seed=1)])


@pytest.fixture(scope="session")
def clean() -> Table:
    return make_table([(text.replace(TRIGGER, "word57"), label) for text, label in make_rows(40, seed=2)])


@pytest.fixture(scope="session")
def triggered(clean: Table) -> Table:
    others = clean.select(np.flatnonzero(clean.labels != TARGET))
    return Table(tuple(f"{TRIGGER} {t}" for t in others.texts), others.labels, others.label_names)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared")


@pytest.fixture
def setting(poisoned: Table, trusted: Table, tiny_model: Path, shared: Path) -> Setting:
    return Setting(poisoned, trusted, model=str(tiny_model), arguments=ARGUMENTS, folder=shared)
