"""Training in a run folder, whatever the task."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from musclelora.purification.run import CHECKPOINTS
from musclelora.purification.run_folder import FolderCallback, RunFolder
from musclelora.training.aligned import AlignedTrainer
from musclelora.training.arguments import MuScleTrainingArguments
from musclelora.training.checkpoints import WEIGHTS, last_checkpoint
from musclelora.training.processes import on_first

# Arguments of the Trainer that do not decide the result; a resumed run may change them.
_FREE = frozenset(
    {
        *("output_dir", "disable_tqdm", "report_to", "logging_steps", "run_name", "log_level_replica"),
        *("shard_backbone", "ddp_find_unused_parameters", "dataloader_pin_memory", "use_cpu"),
        "restore_callback_states_from_checkpoint",
    }
)


def train_in(
    place: RunFolder,
    trainer: AlignedTrainer,
    info: dict[str, Any],
    *,
    resume: bool,
    say: Callable[[str], object],
) -> dict[str, Any]:
    """Train, and keep in the folder `place` what loading the run needs but the end.

    Args:
        place: the run folder.
        trainer: writes its checkpoints where `place` works.
        info: what ``run.json`` says meanwhile.
        resume: go on from the last complete checkpoint, where there is one.
        say: called with lines of text about what is decided.

    Returns:
        What ``run.json`` has to say of a finished run beside `info`: ``history``, ``result``, ``weights``.
    """

    def begin() -> Path | None:
        place.begin(info)
        return last_checkpoint(place.work / CHECKPOINTS) if resume else None

    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, FolderCallback):
            callback.enter(place.work)

    checkpoint = on_first(begin)
    if checkpoint is not None:
        say(f"resuming     from {checkpoint}")
    started = time.perf_counter()
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.perf_counter() - started
    sha256 = on_first(lambda: trainer.adapted.save(place.work / WEIGHTS))
    return {**_outcome(trainer, seconds), "weights": {"file": WEIGHTS, "sha256": sha256}}


def say_truncated(trainer: AlignedTrainer, what: str, say: Callable[[str], object]) -> None:
    """Say how many of the rows that a trainer was given are too long for it; `what` they are: "texts"."""
    for name, count in trainer.truncated.items():
        if count:
            rows, limit = f"{count:,} {what} of the {name} rows", trainer.max_length
            say(f"truncated    {rows} are longer than {limit} tokens")


def folder_arguments(folder: Path, asked: Mapping[str, Any], metric: str | None) -> dict[str, Any]:
    """The training arguments that a run folder wants, whatever is trained.

    Args:
        folder: the run folder.
        asked: the arguments that the user gave, of which ``save_steps`` counts.
        metric: what the checkpoint to keep is chosen by, a loss or an accuracy; None: the last one is kept.
    """
    every = "steps" if "save_steps" in asked else "epoch"
    values: dict[str, Any] = {
        "output_dir": str(folder / CHECKPOINTS),
        "save_total_limit": 2,
        "save_strategy": every,
        "logging_steps": 10,
        "dataloader_pin_memory": False,
        "log_level_replica": "error",  # of several processes one speaks
        "disable_tqdm": False,  # whatever the libraries' verbosity, which decides it otherwise
    }
    if metric is not None:
        values |= {
            "eval_strategy": every,
            "eval_steps": asked.get("save_steps"),
            "load_best_model_at_end": True,
            "metric_for_best_model": metric,
            "greater_is_better": not metric.endswith("loss"),
        }
    return values


def deciding(args: MuScleTrainingArguments) -> dict[str, Any]:
    """The arguments that decide the result and differ from their defaults, as JSON values, by name."""
    default = MuScleTrainingArguments(output_dir="").to_dict()
    found: dict[str, Any] = {}
    for name, value in sorted(args.to_dict().items()):
        if name in _FREE or name.startswith(("_", "hub", "push")):
            continue
        if value != default.get(name):
            found[name] = value
    return found


def _is_endless(value: Any) -> bool:
    # A float16 gradient may overflow, which its scaler mends; JSON has no word for it.
    return isinstance(value, float) and not math.isfinite(value)


def _best_accuracy(state: Any) -> float | None:
    """The accuracy on the rows that chose the epoch, in that epoch."""
    if state.best_metric is None:
        return None
    step = state.best_global_step
    found = [
        log["eval_accuracy"] for log in state.log_history if log["step"] == step and "eval_accuracy" in log
    ]
    return float(found[-1]) if found else None


def _outcome(trainer: AlignedTrainer, seconds: float) -> dict[str, Any]:
    state = trainer.state
    return {
        "history": [{k: v for k, v in log.items() if not _is_endless(v)} for log in state.log_history],
        "result": {
            "steps": state.global_step,
            "epochs": state.epoch,
            "best_step": state.best_global_step or state.global_step,
            "best_accuracy": _best_accuracy(state),
            "seconds": round(seconds, 2),
            "gradient_passes": trainer.args.gradient_passes,
        },
    }
