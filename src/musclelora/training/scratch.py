"""Trainings on the way to another: each shows a bar, keeps nothing, and is judged by rows it did not see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from transformers import set_seed

from musclelora.adapter import MuScleLoraConfig
from musclelora.adapter.copies import Backbones
from musclelora.adapter.loading import loading_options
from musclelora.adapter.presets import Preset
from musclelora.data.table import Table
from musclelora.launched import process_count
from musclelora.training.arguments import MuScleTrainingArguments
from musclelora.training.calibration import calibrated_losses
from musclelora.training.classifier import Classifier
from musclelora.training.processes import rows_per_process
from musclelora.training.progress import TrainingProgress
from musclelora.training.trainer import MuScleTrainer

LARGE: Final = ("encoder-large", "decoder")
"""Presets of backbones that are trained by LoRA on the way: all of one of these, with its optimizer's state,
may not fit where its adapter does. Not measured."""
_QUIET: Final[Mapping[str, Any]] = {
    "max_steps": -1,
    "alignment": False,
    "save_strategy": "no",
    "load_best_model_at_end": False,
    "report_to": "none",
    "logging_steps": 1000,
    "dataloader_pin_memory": False,
    "disable_tqdm": True,
}


def scratch_trainer(
    rows: Table,
    offsets: NDArray[np.float32] | None,
    folder: str,
    *,
    backbones: Backbones,
    preset: Preset,
    config: MuScleLoraConfig,
    arguments: Mapping[str, Any],
    judges: Table | None = None,
    what: str = "training",
) -> MuScleTrainer:
    """A trainer on `rows` that keeps nothing, and evaluates on `judges` after each epoch.

    It shows a bar alone, of the stage `what`, unless the arguments disable that.
    """
    rows_per_step = int(arguments.get("per_device_train_batch_size") or preset.batch_size)
    quiet = {
        **arguments,
        **_QUIET,
        "output_dir": folder,
        "eval_strategy": "no" if judges is None else "epoch",
        "per_device_train_batch_size": rows_per_process(rows_per_step),
    }
    if judges is None:  # with judges it must end as a training does that is kept
        quiet["train_sampling_strategy"] = "group_by_length"
    set_seed(int(arguments["seed"]))  # the new output layer is drawn before the Trainer seeds
    return MuScleTrainer(
        backbones.fresh(rows.label_names, **loading_options(arguments)),
        MuScleTrainingArguments(**quiet),
        train_dataset=rows,
        eval_dataset=judges,
        train_offsets=offsets,
        peft_config=config,
        preset=preset,
        callbacks=[] if arguments.get("disable_tqdm") else [TrainingProgress(what=what, brief=True)],
    )


def whole_backbone_trainer(
    rows: Table,
    folder: str,
    *,
    backbones: Backbones,
    preset: Preset,
    arguments: Mapping[str, Any],
    learning_rate: float,
    large_learning_rate: float,
    what: str = "training",
) -> MuScleTrainer:
    """A scratch trainer of all of a backbone, or of LoRA where it is large.

    What is trained itself is held in float32, whatever the arguments say of the backbone. Batches of these
    small trainings are rounded up, so that any number of processes may share them.

    Args:
        rows: to train on.
        folder: for the Trainer.
        backbones: of the model.
        preset: its preset.
        arguments: fields of the training arguments, with the seed, the epochs and the batch size.
        learning_rate: where it is not among the arguments.
        large_learning_rate: the same, for LoRA.
        what: the stage that it is.
    """
    large = preset.name in LARGE
    adapter: dict[str, Any] = {"low_rank": large, "scale_factors": [], "train_output_layer": True}
    values = {"learning_rate": large_learning_rate if large else learning_rate, **arguments}
    values["shard_backbone"] = large and values.get("shard_backbone", False)
    if large:
        adapter |= {"r": preset.r, "lora_alpha": preset.lora_alpha}
    else:
        values |= {"dtype": None, "quantize": None}
        if values.get("attn_implementation") == "flash_attention_2":  # which takes no float32
            values["attn_implementation"] = None
    count = process_count()
    size = -(-int(values["per_device_train_batch_size"]) // count) * count
    values["per_device_train_batch_size"] = size
    return scratch_trainer(
        rows,
        None,
        folder,
        backbones=backbones,
        preset=preset,
        config=MuScleLoraConfig(**adapter),
        arguments=values,
        what=what,
    )


def losses_on(rows: Table, classifier: Classifier) -> NDArray[np.float64]:
    """The classifier's loss of each of N rows at its best temperature, shape (N,), in nats."""
    said = classifier.predict(rows.texts).probabilities.astype(np.float64)
    return calibrated_losses(np.log(np.clip(said, 1e-7, 1.0)), rows.labels)
