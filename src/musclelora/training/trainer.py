"""The ``transformers`` Trainer of a classifier, with gradient alignment."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import (
    DataCollatorWithPadding,
    EvalPrediction,
    TrainerCallback,
    set_seed,
)

from musclelora.adapter import (
    DEFAULT_MODEL,
    Adapted,
    Backbone,
    MuScleLoraConfig,
    attach,
    export,
    load_backbone,
)
from musclelora.adapter.backbone import length_limit
from musclelora.adapter.export import check_export, on_own_weights
from musclelora.adapter.loading import loading_options
from musclelora.adapter.presets import Preset, preset_for
from musclelora.cards import model_card
from musclelora.data.table import Table
from musclelora.data.trusted import check_same_labels, check_trainable, check_trusted
from musclelora.errors import UsageError
from musclelora.training.aligned import AlignedTrainer
from musclelora.training.arguments import MuScleTrainingArguments
from musclelora.training.batches import TokenizedTable
from musclelora.training.calibration import calibrated_losses
from musclelora.training.classifier import Classifier


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    """The share of rows whose most probable class is the label, and their loss at the best temperature.

    This is the default ``compute_metrics``; see :mod:`musclelora.training.calibration`.
    """
    logits, labels = prediction.predictions, prediction.label_ids
    finite = np.isfinite(logits).all()  # where they are not, no epoch is better for it
    loss = float(calibrated_losses(logits, labels).mean()) if finite else float("nan")
    return {"accuracy": float(np.mean(logits.argmax(-1) == labels)), "calibrated_loss": loss}


class MuScleTrainer(AlignedTrainer):
    """Fine-tunes a classifier on a data set that may be poisoned.

    It is a ``transformers.Trainer``: callbacks, logging, evaluation, checkpoints and resuming work as they do
    there. At every step it draws a trusted mini-batch beside the training batch, takes both gradients, and
    aligns the one to the other before clipping (:mod:`musclelora.alignment`).

    Args:
        model: an embedded model, hub name or folder, or a loaded :class:`~musclelora.adapter.Backbone`.
        args: the training arguments.
        train_dataset: the rows that may be poisoned.
        trusted_dataset: rows that were checked; needed unless ``args.alignment`` is off.
        eval_dataset: clean rows for evaluation during training.
        train_offsets: shape (N, C), added to the N training rows' log-probabilities in their loss, and to
            nothing else: what another expert says of them, so that the model need not learn it; see
            :mod:`musclelora.audit`.
        peft_config: what to adapt; None: MuScleLoRA as the backbone's preset has it.
        preset: overrides the backbone's preset.
        compute_metrics: as in ``Trainer``; None: accuracy.
        callbacks: as in ``Trainer``.
        optimizers: as in ``Trainer``.

    Attributes:
        adapted: the model with its adapter.
        preset: the settings that filled in what `args` and `peft_config` left open.
        truncated: how many texts of each data set were cut, by its name.

    Raises:
        UsageError: an argument is of the wrong type, there is no trusted set to align to, or the sets' labels
            differ.
        DataError: the training rows are of a single class, or the trusted rows lack one of their classes.
        ModelError: see :func:`~musclelora.adapter.load_backbone`.
        TrainingError: while training, when the loss, a gradient or a parameter is not finite; the last
            checkpoint stays, and none is written of such a model.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Backbone = DEFAULT_MODEL,
        args: MuScleTrainingArguments | None = None,
        *,
        train_dataset: Table,
        trusted_dataset: Table | None = None,
        eval_dataset: Table | None = None,
        train_offsets: NDArray[np.float32] | None = None,
        peft_config: MuScleLoraConfig | None = None,
        preset: Preset | None = None,
        compute_metrics: Any = accuracy,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
    ) -> None:
        args = args or MuScleTrainingArguments(output_dir="musclelora-output")
        _check_type("args", args, MuScleTrainingArguments)
        _check_type("model", model, str, os.PathLike, Backbone, remedy="name it, or use load_backbone()")
        _check_type("peft_config", peft_config, MuScleLoraConfig, None)
        _check_type("preset", preset, Preset, None)
        _check_type("train_dataset", train_dataset, Table, remedy="read it with load_table()")
        for name, table in (("trusted_dataset", trusted_dataset), ("eval_dataset", eval_dataset)):
            _check_type(name, table, Table, None, remedy="read it with load_table()")
        if args.alignment and trusted_dataset is None:
            raise UsageError(
                "trusted_dataset: none was given, expected about 100 rows that were checked; "
                "pass one, or switch gradient alignment off"
            )
        check_same_labels(train_dataset, trusted_dataset=trusted_dataset, eval_dataset=eval_dataset)
        check_trainable(train_dataset)
        if args.alignment and trusted_dataset is not None:
            check_trusted(train_dataset, trusted_dataset)
        if train_offsets is not None:
            _check_offsets(train_offsets, (len(train_dataset), train_dataset.num_classes))
        set_seed(args.seed)
        if not isinstance(model, Backbone):
            model = load_backbone(model, train_dataset.label_names, **loading_options(vars(args)))
        self.backbone = model
        self.preset = preset or preset_for(model.model.config, aligned=bool(args.alignment))
        self.adapted: Adapted = attach(model, peft_config or MuScleLoraConfig(), self.preset)
        args = args.filled_in(self.preset, args.world_size)
        args.label_names = ["labels"]
        if train_offsets is not None:
            args.remove_unused_columns = False  # the model does not take them, the loss does
        self.max_length = length_limit(model.tokenizer, model.model.config, args.max_length)
        tables = {"train": train_dataset, "trusted": trusted_dataset, "eval": eval_dataset}
        rows = {
            name: TokenizedTable(
                table, model.tokenizer, self.max_length, train_offsets if name == "train" else None
            )
            for name, table in tables.items()
            if table is not None
        }
        self.truncated = {name: row.truncated for name, row in rows.items()}
        self.label_names_ = train_dataset.label_names
        super().__init__(
            model=self.adapted.model,
            args=args,
            trusted_rows=rows["trusted"] if args.alignment else None,
            data_collator=DataCollatorWithPadding(model.tokenizer),
            train_dataset=rows["train"],
            eval_dataset=rows.get("eval"),
            processing_class=model.tokenizer,
            compute_metrics=compute_metrics,
            callbacks=callbacks,
            optimizers=optimizers,
        )

    @property
    def classifier(self) -> Classifier:
        """The model as it is now, for predicting and evaluating."""
        return Classifier(
            self.adapted.model,
            self.backbone.tokenizer,
            self.label_names_,
            self.max_length,
            bool(self.args.bf16),
        )

    def export(self, path: str | os.PathLike[str], *, format: str = "lora", overwrite: bool = False) -> None:  # noqa: A002
        """Write the trained classifier so that it loads without this package.

        See :func:`musclelora.adapter.export`.
        """
        check_export(path, self.args.output_dir, self.backbone.path)
        export(
            on_own_weights(self.adapted, self.backbone),
            self.processing_class,
            path,
            format=format,
            base_model=self.backbone.path,
            overwrite=overwrite,
            made_from={"backbone": self.backbone.sha256},
            card=model_card(self._about(), kind="lora" if format == "lora" else "merged"),
        )

    def _about(self) -> dict[str, Any]:
        """What is known of the model, as ``run.json`` would say it."""
        return {
            "model": {"name": self.backbone.name, "sha256": self.backbone.sha256},
            "settings": {"method": "MuScleTrainer", "levers": {"alignment": self.args.alignment}},
            "label_names": list(self.label_names_),
            "max_length": self.max_length,
            "truncated": self.truncated,
        }


def _check_type(name: str, value: object, *types: type | None, remedy: str = "see its documentation") -> None:
    expected = tuple(kind for kind in types if kind is not None)
    if not (isinstance(value, expected) or (value is None and None in types)):
        raise UsageError(
            f"{name}: found a {type(value).__name__}, expected a {expected[0].__name__}; {remedy}"
        )


def _check_offsets(offsets: NDArray[np.float32], shape: tuple[int, int]) -> None:
    if offsets.shape != shape:
        raise UsageError(
            f"train_offsets: found shape {offsets.shape}, expected {shape}: a row for each training row "
            "and a column for each label"
        )
    if not np.isfinite(offsets).all():
        raise UsageError("train_offsets: some are not finite, expected log-odds; leave the rest at 0")
