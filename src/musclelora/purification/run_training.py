"""A training run in its folder, whatever the task."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

from transformers import EarlyStoppingCallback, TrainerCallback, set_seed

from musclelora.purification.prepare import Plan, Rows, Say
from musclelora.purification.run import CHECKPOINTS, adapter_settings, check_backbone, preset_values
from musclelora.purification.run_folder import FolderCallback, RunFolder, open_run_folder
from musclelora.training.aligned import AlignedTrainer
from musclelora.training.checkpoints import WEIGHTS, last_checkpoint
from musclelora.training.processes import on_first


def train_run(plan: Plan[Rows], *, resume: bool, overwrite: bool, callbacks: list[TrainerCallback]) -> None:
    """Audit, choose and train in the run folder, unless it holds this run, finished.

    Args:
        plan: of the run.
        resume: go on with the run in the folder.
        overwrite: replace it.
        callbacks: the Trainer's.
    """
    request, say = plan.request, plan.say
    with open_run_folder(request.folder, plan.settings, resume=resume, overwrite=overwrite) as place:
        if place.is_finished:
            say(f"{request.folder} holds this run, finished: nothing to do")
            return
        if place.info is not None:
            check_backbone(place.work, place.info, plan.backbone)
        decided = plan.decide(place, resume=resume)
        if request.early_stopping:
            callbacks = [*callbacks, EarlyStoppingCallback(request.early_stopping)]
        plan.args.output_dir = str(place.work / CHECKPOINTS)
        plan.args.learning_rate = decided.learning_rate
        set_seed(request.seed)
        trainer = plan.trainer(decided, callbacks)
        for name, count in trainer.truncated.items():
            if count:
                rows, limit = f"{count:,} {plan.what} of the {name} rows", trainer.max_length
                say(f"truncated    {rows} are longer than {limit} tokens")
        info = {
            "status": "training",
            "settings": plan.settings,
            "model": {
                "name": request.model,
                "revision": trainer.backbone.revision,
                "sha256": trainer.backbone.sha256,
                **plan.loading,
            },
            "preset": preset_values(plan.preset),
            "adapter": adapter_settings(decided.config),
            "max_length": trainer.max_length,
            "truncated": trainer.truncated,
            **plan.about(decided),
            "data": {name: plan.summary(rows) for name, rows in plan.tables.items() if rows is not None},
        }
        outcome = _train(place, trainer, info, resume=resume, say=say)
        plan.compare(decided, outcome["result"])
        on_first(lambda: place.finish({**info, "status": "finished", **outcome}))


def _train(
    place: RunFolder, trainer: AlignedTrainer, info: dict[str, Any], *, resume: bool, say: Say
) -> dict[str, Any]:
    """Train, and keep in the folder what loading the run needs but the end, which is returned."""

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
