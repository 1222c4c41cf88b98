"""The ``transformers`` Trainer with gradient alignment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import DataCollatorWithPadding, EvalPrediction, Trainer, TrainerCallback, set_seed
from transformers.utils import logging

from musclelora.adapter import DEFAULT_MODEL, Adapted, Backbone, MuScleLoraConfig, attach, export, load_backbone
from musclelora.adapter.presets import Preset, preset_for
from musclelora.alignment import NotSeparableError, TwoGradients, align_gradients, raw_ratio_at
from musclelora.data.table import Table
from musclelora.errors import MuScleLoraError, OutputError, TrainingError, UsageError
from musclelora.training.arguments import MuScleTrainingArguments
from musclelora.training.batches import TokenizedTable, TrustedBatches, join, length_limit
from musclelora.training.classifier import Classifier

logger = logging.get_logger(__name__)

WEIGHTS = "musclelora.safetensors"
Batch = Mapping[str, Tensor]


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    """Share of rows whose most probable class is the label (the default ``compute_metrics``)."""
    return {"accuracy": float(np.mean(prediction.predictions.argmax(-1) == prediction.label_ids))}


class MuScleTrainer(Trainer):
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
        UsageError: there is no trusted set to align to, or the sets' labels differ.
        ModelError: see :func:`~musclelora.adapter.load_backbone`.
        TrainingError: while training, when the loss is not finite; the last checkpoint stays.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | Backbone = DEFAULT_MODEL,
        args: MuScleTrainingArguments | None = None,
        *,
        train_dataset: Table,
        trusted_dataset: Table | None = None,
        eval_dataset: Table | None = None,
        peft_config: MuScleLoraConfig | None = None,
        preset: Preset | None = None,
        compute_metrics: Any = accuracy,
        callbacks: list[TrainerCallback] | None = None,
        optimizers: tuple[Any, Any] = (None, None),
    ) -> None:
        args = args or MuScleTrainingArguments(output_dir="musclelora-output")
        if args.alignment and trusted_dataset is None:
            raise UsageError(
                "trusted_dataset: none was given, expected about 100 rows that were checked; "
                "pass one, or switch gradient alignment off"
            )
        for name, table in (("trusted_dataset", trusted_dataset), ("eval_dataset", eval_dataset)):
            if table is not None and table.label_names != train_dataset.label_names:
                raise UsageError(
                    f"{name}: its labels are {list(table.label_names)}, those of train_dataset "
                    f"{list(train_dataset.label_names)}; load it with label_names=train_dataset.label_names"
                )
        set_seed(args.seed)
        if not isinstance(model, Backbone):
            model = load_backbone(model, train_dataset.label_names)
        self.backbone = model
        self.preset = preset or preset_for(model.model.config)
        self.adapted: Adapted = attach(model, peft_config or MuScleLoraConfig(), self.preset)
        args = args.filled_in(self.preset)
        args.label_names = ["labels"]
        self.max_length = length_limit(model.tokenizer, model.model.config, args.max_length)
        tables = {"train": train_dataset, "trusted": trusted_dataset, "eval": eval_dataset}
        rows = {
            name: TokenizedTable(table, model.tokenizer, self.max_length)
            for name, table in tables.items()
            if table is not None
        }
        self.truncated = {name: row.truncated for name, row in rows.items()}
        self.label_names_ = train_dataset.label_names
        super().__init__(
            model=self.adapted.model,
            args=args,
            data_collator=DataCollatorWithPadding(model.tokenizer),
            train_dataset=rows["train"],
            eval_dataset=rows.get("eval"),
            processing_class=model.tokenizer,
            compute_metrics=compute_metrics,
            callbacks=callbacks,
            optimizers=optimizers,
        )
        self._trusted: TrustedBatches | None = None
        self._split: TwoGradients | None = None
        self._trusted_grads: dict[nn.Parameter, Tensor] = {}
        self._trusted_loss: list[Tensor] = []
        self._since_log: list[Tensor] = []
        self._micro_step = 0
        self._ratio = 0.0
        if args.alignment:
            size = args.trusted_batch_size or len(rows["trusted"])
            seed = args.seed if args.data_seed is None else args.data_seed
            self._trusted = TrustedBatches(rows["trusted"], self.data_collator, size, seed)

    @property
    def classifier(self) -> Classifier:
        """The model as it is now, for predicting and evaluating."""
        return Classifier(self.adapted.model, self.backbone.tokenizer, self.label_names_, self.max_length)

    # ---- a step -------------------------------------------------------------------------------------

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Both gradients of one batch; at the last batch of an accumulated step, their alignment."""
        if self._trusted is None:
            loss = super().training_step(model, inputs, num_items_in_batch)
            self._check_finite(loss)
            return loss
        model.train()
        train = self._prepare_inputs(inputs)
        number = self.state.global_step * self.args.gradient_accumulation_steps + self._micro_step
        trusted = self._prepare_inputs(dict(self._trusted[number]))
        if self._split is None and self.args.gradient_passes != "two":
            self._split = self._splitter(model, train, trusted)
        if self._split is not None:
            losses = self._one_pass(model, train, trusted)
        else:
            losses = self._two_passes(model, train, trusted)
        self._trusted_loss.append(losses[1])
        self._micro_step += 1
        if self.accelerator.sync_gradients:
            self._align(model)
        return losses[0] / self.current_gradient_accumulation_steps

    def _one_pass(self, model: nn.Module, train: Batch, trusted: Batch) -> tuple[Tensor, Tensor]:
        assert self._split is not None  # noqa: S101 - narrowed by the caller
        rows = train["labels"].shape[0]
        joined = join(train, trusted, self.processing_class)
        labels = joined.pop("labels")
        with self._split.rows(rows, labels.shape[0]):
            with self.compute_loss_context_manager():
                logits = model(**joined).logits
                losses = self._loss(logits[:rows], labels[:rows]), self._loss(logits[rows:], labels[rows:])
            self._check_finite(*losses)
            self.accelerator.backward((losses[0] + losses[1]) / self.current_gradient_accumulation_steps)
        self._trusted_grads = self._split.trusted
        return losses[0].detach(), losses[1].detach()

    def _two_passes(self, model: nn.Module, train: Batch, trusted: Batch) -> tuple[Tensor, Tensor]:
        parameters = [p for p in model.parameters() if p.requires_grad]
        raw = [p.grad for p in parameters]
        for parameter in parameters:
            parameter.grad = self._trusted_grads.get(parameter)
        trusted_loss = self._backward(model, trusted)
        self._trusted_grads = {p: p.grad for p in parameters if p.grad is not None}
        for parameter, grad in zip(parameters, raw, strict=True):
            parameter.grad = grad
        return self._backward(model, train), trusted_loss

    def _backward(self, model: nn.Module, batch: Batch) -> Tensor:
        labels = batch["labels"]
        with self.compute_loss_context_manager():
            logits = model(**{name: value for name, value in batch.items() if name != "labels"}).logits
            loss = self._loss(logits, labels)
        self._check_finite(loss)
        self.accelerator.backward(loss / self.current_gradient_accumulation_steps)
        return loss.detach()

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.args.label_smoothing_factor)

    def _align(self, model: nn.Module) -> None:
        """Replace every gradient by its alignment to the trusted one, and forget the trusted one."""
        args = self.args
        trusted_loss = torch.stack(self._trusted_loss).mean()
        self._ratio = raw_ratio_at(
            int(self.state.epoch or 0),
            args.num_train_epochs,
            max_raw_ratio=args.max_raw_ratio,
            mix_from_epoch=args.mix_from_epoch,
        )
        # Decided on the device: reading the loss here would make every step wait for it.
        ratio = torch.where(trusted_loss > args.min_trusted_loss, 0.0, self._ratio)
        pairs = (
            (p.grad, self._trusted_grads[p])
            for p in model.parameters()
            if p.grad is not None and p in self._trusted_grads
        )
        agreement = align_gradients(pairs, ratio)
        if agreement is not None:
            self._since_log.append(torch.stack([trusted_loss, agreement.cosine(), ratio]))
        self._trusted_grads.clear()
        self._trusted_loss.clear()
        self._micro_step = 0

    def _splitter(self, model: nn.Module, train: Batch, trusted: Batch) -> TwoGradients | None:
        """The one-pass machinery, or None where the model mixes rows; decided by trying it on a few rows."""
        split = TwoGradients(model)
        self._split = split
        few = {k: v[:3] for k, v in train.items()}, {k: v[:2] for k, v in trusted.items()}
        state = torch.get_rng_state()
        scale, self.current_gradient_accumulation_steps = self.current_gradient_accumulation_steps, 1
        kept = {p: p.grad for p in model.parameters() if p.requires_grad}
        model.eval()
        try:
            found = []
            for step in (self._one_pass, self._two_passes):
                model.zero_grad()
                self._trusted_grads = {}
                step(model, *few)
                found.append([grad for p in kept for grad in (p.grad, self._trusted_grads.get(p))])
            # Row mixing is no matter of digits: the tolerance only has to allow for bfloat16.
            if _distance(*found) < 0.05:
                return split
            reason = "the two gradients of one pass differ from those of two"
        except NotSeparableError as error:
            reason = str(error)
        finally:
            for parameter, grad in kept.items():
                parameter.grad = grad
            self._trusted_grads = {}
            split.clear()
            self._split = None
            self.current_gradient_accumulation_steps = scale
            torch.set_rng_state(state)
            model.train()
        split.close()
        if self.args.gradient_passes == "one":
            raise UsageError(f"gradient_passes: found 'one', but {reason}; pass 'auto' or 'two'")
        logger.warning("Two passes a step: this model mixes the rows of a batch (%s).", reason)
        self.args.gradient_passes = "two"
        return None

    def _check_finite(self, *losses: Tensor) -> None:
        if not all(bool(torch.isfinite(loss)) for loss in losses):
            step = self.state.global_step + 1
            kept = last_checkpoint(self.args.output_dir)
            rest = f"the last good checkpoint is {kept}" if kept else "no checkpoint had been written"
            raise TrainingError(
                f"step {step}: the loss is not finite; training stopped, {rest}; lower --learning-rate "
                "or the scale factors and train again"
            )

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """As in ``Trainer``; training logs also carry what the alignment saw since the last one."""
        if "loss" in logs and self._since_log:
            mean = torch.stack(self._since_log).mean(0).tolist()
            logs |= dict(zip(("trusted_loss", "gradient_agreement", "raw_ratio"), mean, strict=True))
            self._since_log.clear()
        super().log(logs, *args, **kwargs)

    # ---- checkpoints --------------------------------------------------------------------------------

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Save what the run owns, exactly; the backbone is not copied, and nothing is pickled."""
        del state_dict
        if self.args.should_save:
            self.adapted.save(Path(output_dir or self.args.output_dir) / WEIGHTS)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        try:
            super()._save_checkpoint(model, trial)
        except MuScleLoraError:
            raise
        except (OSError, SafetensorError, RuntimeError) as error:
            raise OutputError(
                f"{self.args.output_dir}: a checkpoint cannot be written ({error}); "
                "free some space and go on with --resume"
            ) from error

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        del model
        self.adapted.load(Path(resume_from_checkpoint) / WEIGHTS)

    def _load_best_model(self) -> None:
        if self.state.best_model_checkpoint:
            self.adapted.load(Path(self.state.best_model_checkpoint) / WEIGHTS)

    def export(self, path: str | os.PathLike[str], *, format: str = "lora", overwrite: bool = False) -> None:  # noqa: A002
        """Write the trained classifier so that it loads without this package.

        See :func:`musclelora.adapter.export`.
        """
        export(
            self.adapted,
            self.processing_class,
            path,
            format=format,
            base_model=self.backbone.path,
            overwrite=overwrite,
        )


def last_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """The newest complete checkpoint below `folder`, or None.

    ``trainer_state.json`` is the last file that the Trainer writes into one: a checkpoint without it, or with
    half of it, is what a kill left behind.
    """
    from transformers import TrainerState

    found = Path(folder).glob("checkpoint-*")
    for checkpoint in sorted(found, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True):
        try:
            TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        except (OSError, ValueError, TypeError):
            continue
        if (checkpoint / WEIGHTS).is_file():
            return checkpoint
    return None


def _distance(found: list[Tensor | None], expected: list[Tensor | None]) -> float:
    """‖found - expected‖ / ‖expected‖ over all tensors; None counts as zero."""
    pairs = list(zip(found, expected, strict=True))
    zero = torch.zeros(())
    error = sum(float(((zero if a is None else a) - (zero if b is None else b)).square().sum()) for a, b in pairs)
    length = sum(float(b.square().sum()) for b in expected if b is not None)
    return float((error / length) ** 0.5) if length else float(error > 0)
