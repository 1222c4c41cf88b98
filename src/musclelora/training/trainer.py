"""The ``transformers`` Trainer with gradient alignment."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import (
    DataCollatorWithPadding,
    EvalPrediction,
    ProgressCallback,
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
from musclelora.adapter.export import on_own_weights
from musclelora.adapter.loading import loading_options
from musclelora.adapter.presets import Preset, preset_for
from musclelora.alignment import NotSeparableError, TwoGradients, align_gradients, raw_ratio_at
from musclelora.data.table import Table
from musclelora.data.trusted import check_trainable, check_trusted
from musclelora.errors import UsageError
from musclelora.training.arguments import MuScleTrainingArguments
from musclelora.training.batches import TokenizedTable, TrustedBatches, join
from musclelora.training.calibration import calibrated_losses
from musclelora.training.checkpoints import CheckpointTrainer, last_checkpoint
from musclelora.training.classifier import Classifier
from musclelora.training.run import check_export

logger = logging.getLogger(__name__)

Batch = Mapping[str, Tensor]


def accuracy(prediction: EvalPrediction) -> dict[str, float]:
    """The share of rows whose most probable class is the label, and their loss at the best temperature.

    This is the default ``compute_metrics``; see :mod:`musclelora.training.calibration`.
    """
    logits, labels = prediction.predictions, prediction.label_ids
    finite = np.isfinite(logits).all()  # where they are not, no epoch is better for it
    loss = float(calibrated_losses(logits, labels).mean()) if finite else float("nan")
    return {"accuracy": float(np.mean(logits.argmax(-1) == labels)), "calibrated_loss": loss}


class MuScleTrainer(CheckpointTrainer):
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
            :mod:`musclelora.shortcuts`.
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
        for name, table in (("trusted_dataset", trusted_dataset), ("eval_dataset", eval_dataset)):
            if table is not None and table.label_names != train_dataset.label_names:
                raise UsageError(
                    f"{name}: its labels are {list(table.label_names)}, those of train_dataset "
                    f"{list(train_dataset.label_names)}; load it with label_names=train_dataset.label_names"
                )
        check_trainable(train_dataset)
        if args.alignment and trusted_dataset is not None:
            check_trusted(train_dataset, trusted_dataset)
        if train_offsets is not None:
            _check_offsets(train_offsets, (len(train_dataset), train_dataset.num_classes))
        set_seed(args.seed)
        if not isinstance(model, Backbone):
            model = load_backbone(model, train_dataset.label_names, **loading_options(vars(args)))
        self.backbone = model
        self.preset = preset or preset_for(model.model.config)
        self.adapted: Adapted = attach(model, peft_config or MuScleLoraConfig(), self.preset)
        args = args.filled_in(self.preset)
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
            data_collator=DataCollatorWithPadding(model.tokenizer),
            train_dataset=rows["train"],
            eval_dataset=rows.get("eval"),
            processing_class=model.tokenizer,
            compute_metrics=compute_metrics,
            callbacks=callbacks,
            optimizers=optimizers,
        )
        if args.alignment and self.args.world_size > 1:
            raise UsageError(
                f"alignment: found {self.args.world_size} processes, expected one, as the trusted gradients "
                "are not reduced across processes; start one process, or switch alignment off"
            )
        self._trusted: TrustedBatches | None = None
        self._split: TwoGradients | None = None
        self._trusted_grads: dict[nn.Parameter, Tensor] = {}
        self._trusted_loss: list[Tensor] = []
        self._since_log: list[Tensor] = []
        self.current_gradient_accumulation_steps = 1
        self._micro_step = 0
        self._separable = False
        if args.alignment:
            size = args.trusted_batch_size or len(rows["trusted"])
            seed = args.seed if args.data_seed is None else args.data_seed
            self._trusted = TrustedBatches(rows["trusted"], self.data_collator, size, seed)

    @property
    def classifier(self) -> Classifier:
        """The model as it is now, for predicting and evaluating."""
        return Classifier(self.adapted.model, self.backbone.tokenizer, self.label_names_, self.max_length)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """As in ``Trainer``; True resumes from the newest complete checkpoint."""
        if resume_from_checkpoint is True:
            found = last_checkpoint(self.args.output_dir)
            if found is None:
                raise UsageError(
                    f"resume_from_checkpoint: {self.args.output_dir} holds no complete checkpoint; "
                    "expected one; leave it out to start anew"
                )
            resume_from_checkpoint = str(found)
        self._resumed_from = Path(resume_from_checkpoint) if resume_from_checkpoint else None
        self._forget()
        try:
            with self._closing_bars():
                output = super().train(resume_from_checkpoint or None, *args, **kwargs)
            self._check_model()
            return output
        finally:
            self._forget()

    def _forget(self) -> None:
        """Drop what an interrupted step left, and give the model's layers their own ``forward`` back."""
        if self._split is not None:
            self._split.close()
            self._split = None
        self._trusted_grads = {}
        self._trusted_loss.clear()
        self._since_log.clear()
        self._micro_step = 0

    @contextlib.contextmanager
    def _closing_bars(self) -> Iterator[None]:
        """End the lines of the progress bars when training is interrupted, so that the error starts one."""
        try:
            yield
        except BaseException:
            for callback in self.callback_handler.callbacks:
                if isinstance(callback, ProgressCallback):
                    for bar in (callback.prediction_bar, callback.training_bar):
                        if bar is not None:
                            bar.close()
                    callback.prediction_bar = callback.training_bar = None
            raise

    # ---- a step -------------------------------------------------------------------------------------

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Both gradients of one batch; at the last batch of an accumulated step, their alignment."""
        self._last_batch = inputs
        if self._trusted is None:
            loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
            self._check_finite("the loss", loss)
            return loss
        model.train()
        train = self._prepare_inputs(inputs)
        number = self.state.global_step * self.args.gradient_accumulation_steps + self._micro_step
        trusted = self._prepare_inputs(dict(self._trusted[number]))
        if self._split is None and self.args.gradient_passes != "two":
            self._split = TwoGradients(model) if self._separable else self._splitter(model, train, trusted)
        if self._split is not None:
            losses = self._one_pass(model, train, trusted)
        else:
            losses = self._two_passes(model, train, trusted)
        self._trusted_loss.append(losses[1])
        self._micro_step += 1
        if self.accelerator.sync_gradients:
            self._align(model)
        return losses[0] / self.current_gradient_accumulation_steps

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """As in ``Trainer``, with the rows' offsets where they have any."""
        if "offsets" not in inputs:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        outputs = model(**_without_targets(inputs))
        loss = self._loss(outputs.logits, inputs)
        if self.model_accepts_loss_kwargs and num_items_in_batch is not None:
            # The Trainer then takes it for this batch's part of the mean over an accumulated step.
            loss = loss * (len(inputs["labels"]) / num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def _one_pass(self, model: nn.Module, train: Batch, trusted: Batch) -> tuple[Tensor, Tensor]:
        assert self._split is not None  # noqa: S101 - narrowed by the caller
        rows = train["labels"].shape[0]
        joined = join(train, trusted, self.processing_class)
        with self._split.rows(rows, joined.pop("labels").shape[0]):
            with self.compute_loss_context_manager():
                logits = model(**joined).logits
                losses = self._loss(logits[:rows], train), self._loss(logits[rows:], trusted)
            self._check_finite("the loss", *losses)
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
        with self.compute_loss_context_manager():
            loss = self._loss(model(**_without_targets(batch)).logits, batch)
        self._check_finite("the loss", loss)
        self.accelerator.backward(loss / self.current_gradient_accumulation_steps)
        return loss.detach()

    def _loss(self, logits: Tensor, batch: Batch) -> Tensor:
        logits = logits.float()
        if "offsets" in batch:
            logits = logits + batch["offsets"]
        return nn.functional.cross_entropy(
            logits, batch["labels"], label_smoothing=self.args.label_smoothing_factor
        )

    def _align(self, model: nn.Module) -> None:
        """Replace every gradient by its alignment to the trusted one, and forget the trusted one."""
        args = self.args
        trusted_loss = torch.stack(self._trusted_loss).mean()
        scheduled = raw_ratio_at(
            int(self.state.epoch or 0),
            # Where max_steps says how long training is, num_train_epochs does not.
            self.state.num_train_epochs if args.max_steps > 0 else args.num_train_epochs,
            max_raw_ratio=args.max_raw_ratio,
            mix_from_epoch=args.mix_from_epoch,
        )
        # Decided on the device: reading the loss here would make every step wait for it.
        ratio = torch.where(trusted_loss > args.min_trusted_loss, 0.0, scheduled)
        pairs = (
            (p.grad, self._trusted_grads[p])
            for p in model.parameters()
            if p.grad is not None and p in self._trusted_grads
        )
        agreement = align_gradients(pairs, ratio, args.alignment_rule)
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
        scale: int = self.current_gradient_accumulation_steps
        self.current_gradient_accumulation_steps = 1
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
                self.args.gradient_passes, self._separable = "one", True
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
            if not self._separable:
                split.close()
            self.current_gradient_accumulation_steps = scale
            torch.set_rng_state(state)
            model.train()
        if self.args.gradient_passes == "one":
            raise UsageError(f"gradient_passes: found 'one', but {reason}; pass 'auto' or 'two'")
        logger.warning("Two passes a step: this model mixes the rows of a batch (%s).", reason)
        self.args.gradient_passes = "two"
        return None

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """As in ``Trainer``; a norm that is not finite stops training before it reaches the parameters."""
        norm = super()._get_grad_norm(model, grad_norm)
        if self.accelerator.scaler is None:  # a float16 scaler meets infinities, and skips the step
            self._check_finite("the gradient", torch.as_tensor(norm))
        return norm

    def _check_finite(self, what: str, *values: Tensor) -> None:
        if not all(bool(torch.isfinite(value).all()) for value in values):
            self._stop(what, self.state.global_step + 1)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """As in ``Trainer``; training logs also carry what the alignment saw since the last one."""
        if "loss" in logs and self._since_log:
            mean = torch.stack(self._since_log).mean(0).tolist()
            logs |= dict(zip(("trusted_loss", "gradient_agreement", "raw_ratio"), mean, strict=True))
            self._since_log.clear()
        if "train_loss" in logs:  # of the whole run, not of what came after it was resumed
            logs["train_loss"] = self._total_loss_scalar / max(self.state.global_step, 1)
        super().log(logs, *args, **kwargs)

    def _sums(self) -> dict[str, Any]:
        return {
            **super()._sums(),
            "since_log": [values.tolist() for values in self._since_log],
            "gradient_passes": self.args.gradient_passes,
        }

    def _restore_sums(self, sums: dict[str, Any]) -> None:
        super()._restore_sums(sums)
        self._since_log.extend(torch.tensor(values, device=self.args.device) for values in sums["since_log"])
        if sums["gradient_passes"] != "auto":  # as decided at the first step, by other rows
            self.args.gradient_passes = sums["gradient_passes"]
            self._separable = self.args.gradient_passes == "one"

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
        )


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


def _without_targets(batch: Batch) -> dict[str, Tensor]:
    """What of a batch the model takes."""
    return {name: value for name, value in batch.items() if name not in ("labels", "offsets")}


def _distance(found: list[Tensor | None], expected: list[Tensor | None]) -> float:
    """‖found - expected‖ / ‖expected‖ over all tensors; None counts as zero."""
    pairs = list(zip(found, expected, strict=True))
    zero = torch.zeros(())
    error = sum(
        float(((zero if a is None else a) - (zero if b is None else b)).square().sum()) for a, b in pairs
    )
    length = sum(float(b.square().sum()) for b in expected if b is not None)
    return float((error / length) ** 0.5) if length else float(error > 0)
