"""A Trainer whose checkpoints hold what a run owns, bit by bit, and never a model that is not finite."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import DistributedType
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME, rotate_checkpoints

from musclelora.adapter import Adapted
from musclelora.errors import ModelError, MuScleLoraError, OutputError, TrainingError, UsageError
from musclelora.files import read_json, special, write_json
from musclelora.hashes import altered, sha256_of_files
from musclelora.state import Count, FileName, Sha256, State, read_state
from musclelora.training.processes import not_ddp

WEIGHTS = "musclelora.safetensors"
SUMS = "musclelora.json"


class CheckpointState(State):
    """``musclelora.json`` of a checkpoint: what the Trainer forgets, and the hashes of its files."""

    loss: float
    total_loss: float
    last_logged: Count
    stopped: bool
    files: dict[FileName, Sha256]


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
        limit = self.args.save_total_limit
        try:
            sums = self._sums()
            self.args.save_total_limit = None  # no earlier one goes before this one is whole
            super()._save_checkpoint(model, trial)
            if self.args.should_save:
                run = self._get_output_dir(trial)
                seal(Path(run) / f"checkpoint-{self.state.global_step}", sums)
                rotate_checkpoints(
                    output_dir=run,
                    save_total_limit=limit,
                    best_model_checkpoint=self.state.best_model_checkpoint,
                    use_mtime=True,
                )
        except MuScleLoraError:
            raise
        except (OSError, SafetensorError, RuntimeError) as error:
            raise OutputError(
                f"{self.args.output_dir}: a checkpoint cannot be written ({error}); "
                "free some space and go on with --resume"
            ) from error
        finally:
            self.args.save_total_limit = limit

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
        self._load_weights(Path(resume_from_checkpoint))

    def _load_best_model(self) -> None:
        if self.state.best_model_checkpoint:
            self._load_weights(Path(self.state.best_model_checkpoint))

    def _load_weights(self, checkpoint: Path) -> None:
        self.adapted.load(checkpoint / WEIGHTS, read_seal(checkpoint)["files"].get(WEIGHTS))

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
        kept = next(iter(complete_checkpoints(self.args.output_dir)), None)
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
        if folder is not None:
            sums = read_seal(folder)
            self._trainer._restore_sums(sums)
            control.should_training_stop = bool(sums["stopped"])
            # The Trainer names it as its path was given then; the run may be resumed from another folder.
            best = read_json(folder / TRAINER_STATE_NAME).get("best_model_checkpoint")
            if best is not None and (folder.parent / Path(best).name).is_dir():
                state.best_model_checkpoint = str(folder.parent / Path(best).name)
        return control


def seal(checkpoint: Path, sums: dict[str, Any]) -> None:
    """Write the last file of a checkpoint, which makes it complete: what the Trainer forgets, and hashes."""
    files = {path.name: sha256_of_files([path]) for path in _parts(checkpoint)}
    write_json(checkpoint / SUMS, {**sums, "files": files})


def read_seal(checkpoint: Path) -> dict[str, Any]:
    """What :func:`seal` wrote.

    Raises:
        ModelError: it is not there, or damaged.
    """
    try:
        found: dict[str, Any] = read_state(checkpoint / SUMS, CheckpointState, ModelError, remedy=_GO_ON)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ModelError(
            f"{checkpoint}: no {SUMS} in it, expected a checkpoint that was written to its end; name another"
        ) from error
    return found


def check_checkpoint(checkpoint: Path) -> None:
    """Check that the files of a checkpoint are those that were written.

    Raises:
        ModelError: one is missing, was altered or has been added.
    """
    then = read_seal(checkpoint)["files"]
    if not (then.keys() >= {WEIGHTS, TRAINER_STATE_NAME}):
        raise ModelError(f"{checkpoint / SUMS}: files: found no hash of {WEIGHTS}, expected one; {_GO_ON}")
    for name, sha256 in then.items():
        file = checkpoint / name
        if special(file) is not None or not file.is_file():
            raise ModelError(f"{file}: found no such file, expected one of the checkpoint; {_GO_ON}")
        now = sha256_of_files([file])
        if now != sha256:
            raise altered(file, sha256, now, _GO_ON)
    for file in _parts(checkpoint):
        if file.name not in then and file.suffix in _READ:
            raise ModelError(f"{file}: found a file that the checkpoint was written without; {_GO_ON}")


_GO_ON = "restore it, or delete that checkpoint to go on from an earlier one"
_READ = (".pt", ".pth", ".bin", ".safetensors", ".json")  # what the Trainer might look for


def _parts(checkpoint: Path) -> list[Path]:
    return [
        path
        for path in sorted(checkpoint.iterdir())
        if path.is_file() and path.name != SUMS and not path.name.startswith(".")
    ]


def complete_checkpoints(folder: str | os.PathLike[str]) -> list[Path]:
    """The checkpoints below `folder` that were written to their end, the newest first.

    ``musclelora.json`` is the last file of one: a checkpoint without it is what a kill left behind.
    """
    steps = {path: path.name.rpartition("-")[2] for path in Path(folder).glob("checkpoint-*")}
    found = [path for path, step in steps.items() if step.isdecimal() and (path / SUMS).exists()]
    return sorted(found, key=lambda path: int(steps[path]), reverse=True)


def last_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """The newest complete checkpoint below `folder`, or None.

    Raises:
        ModelError: its files are not those that were written.
    """
    newest = next(iter(complete_checkpoints(folder)), None)
    if newest is not None:
        check_checkpoint(newest)
    return newest
