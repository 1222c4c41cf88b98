"""A Trainer whose checkpoints hold what a run owns, bit by bit, and never a model that is not finite."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import DistributedType
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback

from musclelora.adapter import Adapted
from musclelora.errors import MuScleLoraError, OutputError, TrainingError, UsageError
from musclelora.files import write_json
from musclelora.training.processes import not_ddp
from musclelora.training.run import SUMS, WEIGHTS


class CheckpointTrainer(Trainer):
    """Saves, resumes and refuses; what a step does is its subclass's.

    Attributes:
        adapted: the model with its adapter; the subclass sets it before it calls the constructor.
    """

    adapted: Adapted

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _check_backend(self.accelerator.distributed_type)
        self._last_batch: Mapping[str, Tensor] = {}
        self._resumed_from: Path | None = None
        self.add_callback(_Restore(self))

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        if not self.control.should_training_stop:  # a resumed run may have stopped already
            super()._run_epoch(*args, **kwargs)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Save what the run owns, exactly; the backbone is not copied, and nothing is pickled."""
        del state_dict
        if self.args.should_save:
            self.adapted.save(Path(output_dir or self.args.output_dir) / WEIGHTS)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        self._check_model()
        try:
            sums = self._sums()
            if self.args.should_save:
                folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
                write_json(folder / SUMS, sums)
            super()._save_checkpoint(model, trial)
        except MuScleLoraError:
            raise
        except (OSError, SafetensorError, RuntimeError) as error:
            raise OutputError(
                f"{self.args.output_dir}: a checkpoint cannot be written ({error}); "
                "free some space and go on with --resume"
            ) from error

    def _sums(self) -> dict[str, Any]:
        """What the Trainer forgets when it resumes: what the next log is the mean of, what was decided."""
        return {
            "loss": float(self.accelerator.reduce(self._tr_loss, "mean")),
            "total_loss": self._total_loss_scalar,
            "last_logged": self._globalstep_last_logged,
            "stopped": self.control.should_training_stop,
        }

    def _restore_sums(self, sums: dict[str, Any]) -> None:
        """Take up what a checkpoint says of :meth:`_sums`."""
        self._tr_loss += sums["loss"]
        self._total_loss_scalar = sums["total_loss"]
        self._globalstep_last_logged = sums["last_logged"]

    def _save_rng_state(self, output_dir: str) -> None:
        """As in ``Trainer``; a checkpoint is complete when every process has saved its own."""
        super()._save_rng_state(output_dir)
        self.accelerator.wait_for_everyone()

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        del model
        self.adapted.load(Path(resume_from_checkpoint) / WEIGHTS)

    def _load_best_model(self) -> None:
        if self.state.best_model_checkpoint:
            self.adapted.load(Path(self.state.best_model_checkpoint) / WEIGHTS)

    @torch.no_grad()
    def _check_model(self) -> None:
        """Raise when the model is not one to keep: a parameter or what it says of a batch is not finite."""
        tensors = [*self.adapted.tensors().values()]
        if self._last_batch:
            training = self.model.training
            self.model.eval()
            with self.compute_loss_context_manager():
                batch = self._prepare_inputs(
                    {k: v for k, v in self._last_batch.items() if k not in ("labels", "offsets")}
                )
                tensors.append(self.model(**batch).logits)
            self.model.train(training)
        bad = not all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
        # What one process finds holds for all, or another could write the model that this one refuses.
        found = self.accelerator.reduce(torch.tensor(float(bad), device=self.args.device), "sum")
        if float(found) > 0:
            self._stop("the model", self.state.global_step)

    def _stop(self, what: str, step: int) -> None:
        kept = last_checkpoint(self.args.output_dir)
        rest = f"the last good checkpoint is {kept}" if kept else "no checkpoint had been written"
        raise TrainingError(
            f"step {step}: {what} is not finite; training stopped, {rest}; lower --learning-rate "
            "or the scale factors and train again"
        )


def _check_backend(found: DistributedType) -> None:
    if found not in (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        raise UsageError(not_ddp(found.value))


class _Restore(TrainerCallback):
    """Goes on where the checkpoint was when training is resumed."""

    def __init__(self, trainer: CheckpointTrainer) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        folder = self._trainer._resumed_from
        if folder is not None and (folder / SUMS).is_file():
            sums = json.loads((folder / SUMS).read_text(encoding="utf-8"))
            self._trainer._restore_sums(sums)
            control.should_training_stop = bool(sums["stopped"])
        return control


def last_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """The newest complete checkpoint below `folder`, or None.

    ``trainer_state.json`` is the last file that the Trainer writes into one: a checkpoint without it, or with
    half of it, is what a kill left behind.
    """
    from transformers import TrainerState

    steps = {path: path.name.rpartition("-")[2] for path in Path(folder).glob("checkpoint-*")}
    found = [path for path, step in steps.items() if step.isdecimal()]
    for checkpoint in sorted(found, key=lambda path: int(steps[path]), reverse=True):
        try:
            TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        except (OSError, ValueError, TypeError):
            continue
        if (checkpoint / WEIGHTS).is_file():
            return checkpoint
    return None
