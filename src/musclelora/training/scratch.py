"""Trainings on the way to another: they print and keep nothing, and are judged by rows they did not see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from transformers import set_seed

from musclelora.adapter import MuScleLoraConfig
from musclelora.adapter.copies import Backbones
from musclelora.adapter.loading import loading_options
from musclelora.adapter.presets import Preset
from musclelora.data.table import Table
from musclelora.training.arguments import MuScleTrainingArguments
from musclelora.training.calibration import calibrated_losses
from musclelora.training.processes import rows_per_process

if TYPE_CHECKING:
    from musclelora.training.classifier import Classifier
    from musclelora.training.trainer import MuScleTrainer


def scratch_trainer(
    rows: Table,
    offsets: NDArray[np.float32],
    folder: str,
    *,
    backbones: Backbones,
    preset: Preset,
    config: MuScleLoraConfig,
    arguments: Mapping[str, Any],
    judges: Table | None = None,
) -> MuScleTrainer:
    """A trainer on `rows` that prints and keeps nothing, and evaluates on `judges` after each epoch."""
    from transformers import PrinterCallback

    from musclelora.training.trainer import MuScleTrainer  # which imports half of transformers

    rows_per_step = int(arguments.get("per_device_train_batch_size") or preset.batch_size)
    quiet = {
        **arguments,
        "output_dir": folder,
        "max_steps": -1,
        "alignment": False,
        "save_strategy": "no",
        "eval_strategy": "no" if judges is None else "epoch",
        "load_best_model_at_end": False,
        "report_to": "none",
        "logging_steps": 1000,
        "dataloader_pin_memory": False,
        "disable_tqdm": True,
        "per_device_train_batch_size": rows_per_process(rows_per_step),
    }
    set_seed(int(arguments["seed"]))  # the new output layer is drawn before the Trainer seeds
    trainer = MuScleTrainer(
        backbones.fresh(rows.label_names, **loading_options(arguments)),
        MuScleTrainingArguments(**quiet),
        train_dataset=rows,
        eval_dataset=judges,
        train_offsets=offsets,
        peft_config=config,
        preset=preset,
    )
    trainer.remove_callback(PrinterCallback)  # which stands in for the bar
    return trainer


def losses_on(rows: Table, classifier: Classifier) -> NDArray[np.float64]:
    """The classifier's loss of each of N rows at its best temperature, shape (N,), in nats."""
    said = classifier.predict(rows.texts).probabilities.astype(np.float64)
    return calibrated_losses(np.log(np.clip(said, 1e-7, 1.0)), rows.labels)
