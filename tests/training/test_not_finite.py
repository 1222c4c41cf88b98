"""A loss, gradient or model that is not finite stops training, and never becomes a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import Fit
from transformers import TrainerCallback

from musclelora.data.table import Table
from musclelora.errors import TrainingError
from musclelora.training import MuScleTrainer, MuScleTrainingArguments
from musclelora.training.checkpoints import last_checkpoint


class Spoil(TrainerCallback):
    """Does something to the model at one event of one step (counted from 1)."""

    def __init__(self, event: str, step: int, spoil: Callable[[torch.nn.Module], object]) -> None:
        self._event, self._step, self._spoil = event, step, spoil

    def on_step_begin(self, _args: Any, state: Any, _control: Any, model: Any = None, **_kwargs: Any) -> None:
        self._maybe("begin", state.global_step + 1, model)

    def on_pre_optimizer_step(
        self, _args: Any, state: Any, _control: Any, model: Any = None, **_kwargs: Any
    ) -> None:
        self._maybe("update", state.global_step + 1, model)

    def on_optimizer_step(
        self, _args: Any, state: Any, _control: Any, model: Any = None, **_kwargs: Any
    ) -> None:
        self._maybe("updated", state.global_step + 1, model)

    def _maybe(self, event: str, step: int, model: torch.nn.Module) -> None:
        if (event, step) == (self._event, self._step):
            self._spoil(model)


def trained(model: torch.nn.Module) -> torch.nn.Parameter:
    return next(p for name, p in model.named_parameters() if p.requires_grad and "lora_" in name)


@torch.no_grad()
def fill(model: torch.nn.Module, value: float) -> None:
    trained(model).fill_(value)


def spoil_gradient(model: torch.nn.Module) -> None:
    trained(model).register_hook(lambda grad: grad * math.nan)


def all_finite(folder: Path) -> bool:
    weights = list(folder.rglob("*.safetensors"))
    return all(bool(tensor.isfinite().all()) for path in weights for tensor in load_file(path).values())


def test_a_learning_rate_without_measure_stops_at_the_step_it_breaks(fit_tiny: Fit, tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError, match=r"^step 2: .* is not finite; training stopped, no checkpoint"
    ) as error:
        fit_tiny(arguments={"learning_rate": 1e30})
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("method", ["musclelora", "full"])
def test_parameters_that_broke_at_the_step_of_a_checkpoint_are_not_saved(
    method: str, fit_tiny: Fit, tmp_path: Path
) -> None:
    # Finite, but so large that the model overflows: only a forward pass can tell.
    arguments = {"learning_rate": 1e30, "save_steps": 1}
    for select_best in ("dev", "last"):
        with pytest.raises(TrainingError, match=r"step 1: .* no checkpoint had been written"):
            fit_tiny(tmp_path / select_best, method, arguments=arguments, select_best=select_best)
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize(
    ("event", "step", "spoil", "said"),
    [
        ("begin", 6, lambda model: fill(model, math.nan), "step 6: the loss"),
        ("begin", 6, spoil_gradient, "step 6: the gradient"),
        ("updated", 6, lambda model: fill(model, math.inf), "step 7: the loss"),
        (
            "updated",
            8,
            lambda model: fill(model, math.nan),
            "step 8: the model",
        ),  # the last, and a checkpoint
    ],
)
def test_the_last_good_checkpoint_is_kept_and_named(
    event: str,
    step: int,
    spoil: Callable[[torch.nn.Module], object],
    said: str,
    fit_tiny: Fit,
    tmp_path: Path,
) -> None:
    with pytest.raises(TrainingError, match=said) as error:
        fit_tiny(callbacks=[Spoil(event, step, spoil)], select_best="last")
    kept = tmp_path / "run" / "checkpoints" / "checkpoint-4"
    assert str(kept) in str(error.value)
    assert last_checkpoint(kept.parent) == kept
    assert all_finite(tmp_path)
    assert fit_tiny(resume=True, select_best="last").info["status"] == "finished"


def test_a_model_that_broke_at_the_end_is_not_returned_without_checkpoints_either(
    tiny_model: Path, train_rows: Table, trusted_rows: Table, tmp_path: Path
) -> None:
    trainer = MuScleTrainer(
        str(tiny_model),
        MuScleTrainingArguments(
            str(tmp_path),
            save_strategy="no",
            max_steps=2,
            use_cpu=True,
            disable_tqdm=True,
            learning_rate=1e-3,
        ),
        train_dataset=train_rows,
        trusted_dataset=trusted_rows,
        callbacks=[Spoil("updated", 2, lambda model: fill(model, math.nan))],
    )
    with pytest.raises(TrainingError, match="step 2: the model"):
        trainer.train()
