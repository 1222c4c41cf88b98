"""A Trainer that takes two gradients at every step and aligns the one to the other."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import SeedableRandomSampler
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, Sampler
from transformers.trainer_pt_utils import nested_truncate

from musclelora.alignment import NotSeparableError, TwoGradients, align_gradients, raw_ratio_at
from musclelora.errors import UsageError
from musclelora.training.arguments import GROUPED, MuScleTrainingArguments
from musclelora.training.batches import LikeLengths, TrustedBatches, join
from musclelora.training.checkpoints import CheckpointTrainer, check_checkpoint, last_checkpoint
from musclelora.training.progress import TrainingProgress, replace_printers
from musclelora.training.sharding import shard_frozen
from musclelora.training.shards import IGNORED, FilledRows, ShardedBatches, TokenizedRows, average

logger = logging.getLogger(__name__)

TRUSTED = "trusted.safetensors"
"""Of a checkpoint: the trusted gradient, where the next steps are aligned to it as well."""
Batch = Mapping[str, Tensor]


class AlignedTrainer(CheckpointTrainer):
    """What a step does, whatever the task: its subclasses say what rows, batches and losses are.

    Args:
        args: the training arguments, with nothing left for a preset to fill in.
        trusted_rows: what trusted mini-batches are drawn from; None: nothing is aligned.
        **kwargs: the Trainer's.

    Several processes (``torchrun``, ``accelerate launch``) take the steps of a single one: each has its part
    of every training and every trusted batch (:mod:`musclelora.training.shards`), losses are means over all
    rows of a batch, and both gradients are averaged over the processes before they are aligned.
    """

    def __init__(
        self, *, args: MuScleTrainingArguments, trusted_rows: TokenizedRows | None, **kwargs: Any
    ) -> None:
        if args.ddp_find_unused_parameters is None and self.adapted.config.low_rank:
            args.ddp_find_unused_parameters = False  # every adapted layer runs
        super().__init__(args=args, **kwargs)
        replace_printers(self)
        self._processes = self.accelerator.num_processes
        if args.shard_backbone:
            self._shard_backbone()
        self._trusted: TrustedBatches | None = None
        self._split: TwoGradients | None = None
        self._trusted_grads: dict[nn.Parameter, Tensor] = {}
        self._trusted_loss: list[Tensor] = []
        self._loss_then: Tensor | None = None  # of the trusted rows, where the kept gradient was taken
        self._since_log: list[Tensor] = []
        self.current_gradient_accumulation_steps = 1
        self._micro_step = 0
        self._separable = False
        if trusted_rows is not None:
            size = args.trusted_batch_size or len(trusted_rows)
            seed = args.seed if args.data_seed is None else args.data_seed
            part = (self.accelerator.process_index, self._processes)
            self._trusted = TrustedBatches(trusted_rows, self.data_collator, size, seed, part)

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
        if self._resumed_from is not None:
            check_checkpoint(self._resumed_from)
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
        self._loss_then = None
        self._since_log.clear()
        self._micro_step = 0

    @contextlib.contextmanager
    def _closing_bars(self) -> Iterator[None]:
        """End the lines of the progress bars when training is interrupted, so that the error starts one."""
        try:
            yield
        except BaseException:
            for callback in self.callback_handler.callbacks:
                if isinstance(callback, TrainingProgress):
                    callback.close()
            raise

    def _shard_backbone(self) -> None:
        if not self.adapted.config.low_rank:
            raise UsageError(
                "--shard-backbone: found with a method that trains the backbone itself, expected adapters; "
                "leave it out, or choose a method with LoRA"
            )
        if self.args.quantize == "int8":
            raise UsageError(
                "--shard-backbone: found with --quantize int8, whose layers cannot be spread; "
                "choose --quantize nf4, or leave one of them out"
            )
        if self._processes == 1:
            raise UsageError(
                "--shard-backbone: found in a single process, expected several; start it with torchrun or "
                "accelerate launch, or leave it out"
            )
        shard_frozen(self.model, self.adapted.own, self.args.device)
        # The Trainer then neither wraps nor moves the model.
        self.is_distributed_loading_by_transformers = True

    def _sync_replicated_trainable_parameters(self, model: nn.Module) -> None:
        """Nothing: they are the same already, and :meth:`training_step` averages their gradients."""

    def _defer_fsdp_gradient_reduction(self) -> contextlib.AbstractContextManager[None]:
        """Nothing is reduced before the last batch of an accumulated step."""
        return contextlib.nullcontext()

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        """As in ``Trainer``, but for ``"group_by_length"``, which is ours: it orders nothing by length."""
        # A step's rows are the same however many parts it is taken in.
        size = self._train_batch_size * self._processes * self.args.gradient_accumulation_steps
        strategy = self.args.train_sampling_strategy
        if strategy == "auto":
            strategy = "group_by_length" if len(self.train_dataset) >= GROUPED * size else "random"
        if strategy != "group_by_length":
            sampler: Sampler[int] = super()._get_train_sampler(train_dataset)
            return sampler
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        return LikeLengths(self.train_dataset.lengths, size, seed)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """As in ``Trainer``; of several processes each takes its part of the batches of a single one."""
        if self._processes == 1:
            whole: DataLoader[Any] = super().get_train_dataloader()
            return whole
        rows = self._get_train_sampler()
        if isinstance(rows, RandomSampler):  # which Accelerate makes of it in a single process as well
            rows = SeedableRandomSampler(self.train_dataset, data_seed=self.args.data_seed)
        batches = ShardedBatches(
            rows,
            self._train_batch_size * self._processes,
            self.accelerator.process_index,
            self._processes,
            drop_last=self.args.dataloader_drop_last,
        )
        return DataLoader(
            FilledRows(self.train_dataset),
            batch_sampler=batches,
            collate_fn=self._get_collator_with_removed_columns(self.data_collator, description="training"),
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        """As in ``Trainer``; each of several processes evaluates all rows, so that all decide by the same."""
        if self._processes == 1:
            whole: DataLoader[Any] = super().get_eval_dataloader(eval_dataset)
            return whole
        return DataLoader(
            self.eval_dataset if eval_dataset is None else eval_dataset,
            batch_size=self.args.eval_batch_size,
            collate_fn=self._get_collator_with_removed_columns(self.data_collator, description="evaluation"),
            pin_memory=self.args.dataloader_pin_memory,
        )

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        """As in ``Trainer``; of several processes none gathers what the others have evaluated as well."""
        if self._processes > 1:
            # The Trainer repeats a loss for each row of a full batch, which the last one is not.
            self.gather_function = lambda values: nested_truncate(values, self._evaluated)
        return super().evaluation_loop(*args, **kwargs)

    def prediction_step(self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As in ``Trainer``."""
        self._evaluated = len(inputs["labels"])
        return super().prediction_step(model, inputs, *args, **kwargs)

    # ---- a step -------------------------------------------------------------------------------------

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Both gradients of one batch; at the last batch of an accumulated step, their alignment."""
        self._last_batch = inputs
        if self._trusted is None:
            loss: Tensor = super().training_step(model, inputs, num_items_in_batch)
            self._check_finite("the loss", loss)
            if self.args.shard_backbone and self.accelerator.sync_gradients:
                average([p.grad for p in model.parameters() if p.grad is not None])
            return loss
        model.train()
        train = self._prepare_inputs(inputs)
        if self._keeps_trusted(self.state.global_step):
            train_loss = self._backward(model, train)
            self._micro_step += 1
            if self.accelerator.sync_gradients:
                self._align(model)
            return train_loss / self.current_gradient_accumulation_steps
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
        """The mean loss, with the rows' offsets where they have any.

        In training it is computed here: the Trainer takes a classifier's own loss for one that it has already
        divided by the items of an accumulated step, which most classifiers have not.
        """
        if not self.model.training:
            return super().compute_loss(model, inputs, return_outputs)
        outputs = model(**_without_targets(inputs))
        # Where the Trainer counts items, it takes the loss for a part of the mean over an accumulated step.
        counted = self.model_accepts_loss_kwargs or self.compute_loss_func is not None
        loss = self._mean_loss(outputs.logits, inputs, num_items_in_batch if counted else None)
        return (loss, outputs) if return_outputs else loss

    def _keeps_trusted(self, step: int) -> bool:
        """Whether updates of a step, from 0, are aligned to the trusted gradient of an earlier one."""
        return step % self.args.trusted_every > 0 and self._loss_then is not None

    def _one_pass(self, model: nn.Module, train: Batch, trusted: Batch) -> tuple[Tensor, Tensor]:
        assert self._split is not None  # noqa: S101 - narrowed by the caller
        rows = train["labels"].shape[0]
        joined = join(train, trusted, self.processing_class)
        with self._split.rows(rows, joined.pop("labels").shape[0]):
            with self.compute_loss_context_manager():
                logits = model(**joined).logits
                losses = self._mean_loss(logits[:rows], train), self._mean_loss(logits[rows:], trusted)
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
            loss = self._mean_loss(model(**_without_targets(batch)).logits, batch)
        self._check_finite("the loss", loss)
        self.accelerator.backward(loss / self.current_gradient_accumulation_steps)
        return loss.detach()

    def _mean_loss(self, logits: Tensor, batch: Batch, total: Tensor | int | None = None) -> Tensor:
        """A process's part of a mean over `total` items, such that the mean over the processes is that mean.

        Without a total it is the number of items in this batch, of all processes.
        """
        items = self._items(batch)
        if total is None:
            total = self.accelerator.reduce(items, "sum") if self._processes > 1 else items
        part: Tensor = self._loss(logits, batch) * (self._processes / total)
        return part

    def _items(self, batch: Batch) -> Tensor:
        """How many terms a batch's loss has: the labels that are not to be ignored."""
        return (batch["labels"] != IGNORED).sum()

    def _loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """The sum of a batch's losses."""
        logits = logits.float()
        if "offsets" in batch:
            logits = logits + batch["offsets"]
        return nn.functional.cross_entropy(
            logits,
            batch["labels"],
            label_smoothing=self.args.label_smoothing_factor,
            ignore_index=IGNORED,
            reduction="sum",
        )

    def _align(self, model: nn.Module) -> None:
        """Replace every gradient by its alignment to the trusted one, which the next step may share."""
        args = self.args
        fresh = bool(self._trusted_loss)
        if fresh:
            self._loss_then = torch.stack(self._trusted_loss).mean()
            if self._processes > 1:
                self._loss_then = self.accelerator.reduce(self._loss_then, "mean")
        trusted_loss = self._loss_then
        assert trusted_loss is not None  # noqa: S101 - a kept gradient has one
        if self._processes > 1:
            found = [(p.grad, self._trusted_grads.get(p)) for p in model.parameters() if p.requires_grad]
            if self.args.shard_backbone:  # otherwise the backward pass has averaged them
                average([g for g, _ in found if g is not None])
            if fresh and (self.args.shard_backbone or self._split is not None):
                average([t for _, t in found if t is not None])
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
        if self.accelerator.scaler is not None and not _finite(self._trusted_grads.values()):
            self._loss_then = None  # the scaler skips this step, and the next one takes t again
        if not self._keeps_trusted(self.state.global_step + 1):
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
            with self.accelerator.no_sync(model):
                for step in (self._one_pass, self._two_passes):
                    model.zero_grad()
                    self._trusted_grads = {}
                    step(model, *few)
                    found.append([grad for p in kept for grad in (p.grad, self._trusted_grads.get(p))])
            # Row mixing is no matter of digits: the tolerance only has to allow for bfloat16. The process
            # that found most decides for all.
            distance = torch.tensor(_distance(*found), device=self.args.device)
            if float(self.accelerator.reduce(distance, "max")) < 0.05:
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
            "trusted_loss": float(self._loss_then)
            if self._trusted_grads and self._loss_then is not None
            else None,
        }

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """As before, and the trusted gradient that the next steps are aligned to."""
        super()._save(output_dir, state_dict)
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        kept = {names[parameter]: grad.contiguous() for parameter, grad in self._trusted_grads.items()}
        if kept and self.args.should_save:
            save_file(kept, Path(output_dir or self.args.output_dir) / TRUSTED)

    def _restore_sums(self, sums: dict[str, Any]) -> None:
        super()._restore_sums(sums)
        self._since_log.extend(torch.tensor(values, device=self.args.device) for values in sums["since_log"])
        # The steps to come may share another number of steps, if whoever resumes says so.
        shares = self.state.global_step % self.args.trusted_every > 0
        if shares and sums.get("trusted_loss") is not None and self._resumed_from is not None:
            self._loss_then = torch.tensor(sums["trusted_loss"], device=self.args.device)
            grads = load_file(self._resumed_from / TRUSTED, str(self.args.device))
            self._trusted_grads = {p: grads[n] for n, p in self.model.named_parameters() if n in grads}
        if sums["gradient_passes"] != "auto":  # as decided at the first step, by other rows
            self.args.gradient_passes = sums["gradient_passes"]
            self._separable = self.args.gradient_passes == "one"


def _finite(tensors: Iterable[Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


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
