"""A tiny decoder on disk, and short runs of it."""

from __future__ import annotations

import os

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")  # what is compared bit by bit is computed on the CPU

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_chats import make_pairs, write_decoder

from musclelora.purification import METHODS, GenerationRun, train_generator


@pytest.fixture(scope="session")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of width 32 with a chat template."""
    return write_decoder(tmp_path_factory.mktemp("models") / "llama")


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of width 32, which counts positions absolutely and has dropout, without a chat template."""
    return write_decoder(tmp_path_factory.mktemp("models") / "gpt2", "GPT2Config", template=None)


@pytest.fixture
def fit_tiny(decoder: Path, tmp_path: Path) -> Callable[..., GenerationRun]:
    """Train a method for two epochs of four steps; keywords change anything."""

    def run(output: Path | None = None, method: str = "musclelora", **changes: Any) -> GenerationRun:
        arguments = {
            "num_train_epochs": 2,
            "per_device_train_batch_size": 8,
            "learning_rate": 1e-2,
            "logging_steps": 3,
            "disable_tqdm": True,
            "use_cpu": True,
            **changes.pop("arguments", {}),
        }
        settings = {
            "train": make_pairs(30, seed=0),
            "trusted": make_pairs(10, seed=1),
            "model": str(decoder),
            "method": METHODS[method],
            **changes,
        }
        return train_generator(output or tmp_path / "run", arguments=arguments, **settings)

    return run
