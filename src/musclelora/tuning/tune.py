"""A longer search than that of ``--method purify``: Optuna over more settings, judged by the trusted rows.

As in the trials of :mod:`musclelora.purification.auto` the trusted rows are not trained on, and what
shortcuts say of a training row is taken out of its loss. A trial trains on all training rows but the
doubtful ones; its loss on the trusted rows after the last epoch, at its best temperature, is to be as low as
can be. No poison flag and no test label enters.
What it keeps is in :mod:`musclelora.tuning.search_folder`.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback

from musclelora import __version__
from musclelora.adapter import DEFAULT_MODEL, MuScleLoraConfig, attach
from musclelora.adapter.copies import Backbones
from musclelora.adapter.loading import loading_options
from musclelora.adapter.presets import Preset, preset_for
from musclelora.audit.evidence import Settings
from musclelora.audit.judge import judge as judge_rows
from musclelora.audit.judgement import Judgement
from musclelora.audit.judges import AUTO, judge_model
from musclelora.audit.recheck import recheck_settings
from musclelora.audit.schema import JudgementState
from musclelora.data.model_source import from_anywhere
from musclelora.data.table import Table, fingerprint
from musclelora.data.trusted import check_same_labels, check_trainable, check_trusted, no_trusted
from musclelora.errors import OutputError, TrainingError, UsageError
from musclelora.files import write_json
from musclelora.outputs import check_output, read_from
from musclelora.purification.auto import pick
from musclelora.state import read_state
from musclelora.training.arguments import MuScleTrainingArguments
from musclelora.training.hardware import free_memory
from musclelora.training.scratch import losses_on, scratch_trainer
from musclelora.tuning.search import Measure, Report, Trial, load_optuna, search
from musclelora.tuning.search_folder import BEST, FORMAT, JUDGEMENT, TRIALS, opened
from musclelora.tuning.space import as_options, space_around


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes:
        trials: the finished ones, in order.
        best: the number of the best one, from 0.
        why: how it compares with the first, in words.
        options: its settings as options of ``musclelora train``.
    """

    trials: tuple[Trial, ...]
    best: int
    why: str
    options: tuple[str, ...]


def tune(
    train: Table,
    trusted: Table | None,
    *,
    folder: str | os.PathLike[str],
    model: str = DEFAULT_MODEL,
    judge: str = AUTO,
    trials: int = 50,
    timeout: float | None = None,
    seed: int = 42,
    arguments: Mapping[str, Any] | None = None,
    adapter: Mapping[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    say: Callable[[str], object] = lambda _: None,
) -> Tuned:
    """Search for the settings that lead to the lowest loss on the trusted rows.

    Args:
        train: the rows that may be poisoned.
        trusted: rows that were checked; they are not trained on.
        folder: where the search is kept.
        model: embedded, a hub name or a folder.
        judge: the model that says what rows mean: see :mod:`musclelora.audit.judges`.
        trials: how many there are to be, with those of a search that is gone on with.
        timeout: seconds after which no other trial is begun, but one there is.
        seed: of the search and of every training.
        arguments: fields of :class:`~musclelora.training.MuScleTrainingArguments` that are not searched.
        adapter: fields of :class:`~musclelora.adapter.MuScleLoraConfig` that are not searched.
        resume: go on with the search in `folder`, if there is one.
        overwrite: replace the search in `folder`.
        say: called with lines of text; words in them come from the data.

    Raises:
        DataError, ModelError, OutputError, UsageError: each says what to do.
        TrainingError: no trial came to its end with a finite loss.
    """
    load_optuna()
    place, arguments, adapter = Path(folder), dict(arguments or {}), dict(adapter or {})
    _check_numbers(trials, timeout)
    check_output(place, read_from(train, trusted, model=model), folder=True)
    trusted = _checked(train, trusted)
    backbones = Backbones(from_anywhere(model))
    backbone = backbones.fresh(train.label_names, **loading_options(arguments))
    preset = preset_for(backbone.model.config, aligned=False)
    say(f"preset       {preset.name}: {preset.source}")
    space = space_around(preset, {**arguments, **adapter})
    _configured(space.settings(space.first), preset, arguments, adapter)  # bad ones are refused here
    judges = _judges(judge, backbones, train, say)
    settings = {
        "model": backbones.model,
        "judge": (judges or backbones).model,
        "preset": preset.name,
        "seed": seed,
        "train": fingerprint(train),
        "trusted": fingerprint(trusted),
        "arguments": arguments,
        "adapter": adapter,
        "space": space.to_dict(),
    }
    config, looking = recheck_settings(preset, adapter, arguments)
    attach(backbone, config, preset)  # or its errors come once the search has begun
    del backbone
    how = Settings(backbones, preset, config, looking, seed, judges)
    with opened(place, settings, resume=resume, overwrite=overwrite):
        judgement = _found_once(
            place / JUDGEMENT, train, lambda: judge_rows(train, trusted, how, say=say).judgement()
        )
        measure = _measure(judgement, train, trusted, how, arguments, adapter)

        def after(done: list[Trial]) -> None:
            say(f"trial        {_described(done, trials)}")
            _keep(place / BEST, done, backbones.model, seed, arguments)

        done = search(place / TRIALS, space, measure, trials=trials, seed=seed, timeout=timeout, after=after)
        found = _keep(place / BEST, done, backbones.model, seed, arguments)
    return _best(found, place, done, trials, say)


def _best(
    found: Tuned | None, place: Path, done: list[Trial], trials: int, say: Callable[[str], object]
) -> Tuned:
    """The best settings, said; raises :class:`TrainingError` where there are none."""
    if found is None:
        raise TrainingError(
            f"{place}: none of {len(done)} trials came to its end with a finite loss; check the data, or "
            "give a lower --learning-rate"
        )
    say(f"best         {_described(done[: found.best + 1], trials)}")
    say(f"             {found.why}")
    return found


def _judges(asked: str, backbones: Backbones, train: Table, say: Callable[[str], object]) -> Backbones | None:
    """Of the model that says what rows mean; None: the backbone."""
    judge, line = judge_model(asked, backbones.model, train.texts)
    say(line)
    return None if judge == backbones.model else Backbones(judge)


def _checked(train: Table, trusted: Table | None) -> Table:
    """The trusted rows, if there are some and both tables will do."""
    check_trainable(train)
    if trusted is None:
        raise no_trusted()
    check_same_labels(train, trusted=trusted)
    check_trusted(train, trusted)
    return trusted


def _check_numbers(trials: int, timeout: float | None) -> None:
    if trials < 1:
        raise UsageError(f"--trials: found {trials}, expected a whole number of 1 or more; raise it")
    if timeout is not None and not 0 < timeout < math.inf:
        raise UsageError(f"--timeout: found {timeout:g}, expected seconds above 0; leave it out for no limit")


# ---- a trial --------------------------------------------------------------------------------------------


class _AfterEpoch(TrainerCallback):
    """Hands on the loss of each epoch's evaluation."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def on_evaluate(self, _args: Any, state: Any, _control: Any, metrics: Any, **_kwargs: Any) -> None:
        if not (math.isfinite(metrics["eval_loss"]) and math.isfinite(metrics["eval_calibrated_loss"])):
            raise TrainingError(f"step {state.global_step}: the loss on the trusted rows is not finite")
        self._report(float(metrics["eval_calibrated_loss"]))


def _measure(
    judgement: Judgement,
    train: Table,
    trusted: Table,
    how: Settings,
    arguments: Mapping[str, Any],
    adapter: Mapping[str, Any],
) -> Measure:
    rows, offsets = judgement.apply(train)

    def measure(settings: Mapping[str, Any], report: Report) -> list[float]:
        values, config = _configured(settings, how.preset, arguments, adapter)
        with tempfile.TemporaryDirectory() as scratch:
            # The trusted rows are evaluated by the Trainer, as in a training whose epoch they choose: that
            # draws random numbers, and without it the same settings would end elsewhere.
            trainer = scratch_trainer(
                rows,
                offsets,
                scratch,
                backbones=how.backbones,
                preset=how.preset,
                config=config,
                arguments={**values, "seed": how.seed},
                judges=trusted,
                what="trial",
            )
            trainer.add_callback(_AfterEpoch(report))
            try:
                trainer.train()
                return [float(loss) for loss in losses_on(trusted, trainer.classifier)]
            finally:
                del trainer
                free_memory()

    return measure


def _configured(
    settings: Mapping[str, Any], preset: Preset, arguments: Mapping[str, Any], adapter: Mapping[str, Any]
) -> tuple[dict[str, Any], MuScleLoraConfig]:
    """The fields of the training arguments and the adapter's configuration, which are checked."""
    names = ("learning_rate", "num_train_epochs")
    values = {**arguments, **{name: settings[name] for name in names}}
    MuScleTrainingArguments(output_dir="", **values)
    config = {
        **preset.adapter_fields(),
        **adapter,
        **{name: value for name, value in settings.items() if name not in names},
    }
    return values, MuScleLoraConfig(**config)


# ---- what is kept --------------------------------------------------------------------------------------


def _found_once(file: Path, train: Table, judged: Callable[[], Judgement]) -> Judgement:
    """What the trusted rows say of the training rows, as the file has it, which is made if need be."""
    remedy = "remove it, and it is made again"
    if file.is_file():
        found = Judgement.from_dict(read_state(file, JudgementState, OutputError, remedy=remedy))
        wrong = found.misfit(train)
        if wrong is not None:
            raise OutputError(f"{file}: {wrong}; {remedy}")
        return found
    judgement = judged()
    write_json(file, judgement.to_dict())
    return judgement


def _keep(file: Path, done: list[Trial], model: str, seed: int, arguments: Mapping[str, Any]) -> Tuned | None:
    """Write the best trial so far; None where all were stopped."""
    best = min(range(len(done)), key=lambda number: done[number].loss)
    trial = done[best]
    if trial.stopped:
        return None
    options = as_options({**arguments, **trial.settings})
    first = done[0]
    if first.stopped:
        why = f"the first trial, near the preset, was stopped: {first.stopped}"
    else:
        compared = [np.array(tried.row_losses) for tried in ((first, trial) if best else (first,))]
        _, reason = pick(compared)
        why = f"against the first trial, which is the preset or near it: {reason}"
    write_json(
        file,
        {
            "format": FORMAT,
            "musclelora": __version__,
            "model": model,
            "seed": seed,
            "settings": trial.settings,
            "options": options,
            "trial": best + 1,
            "loss": trial.loss,
            "epoch_losses": list(trial.epoch_losses),
            "first_loss": None if first.stopped else first.loss,
            "why": why,
            "trials": {"finished": len(done), "stopped": sum(bool(trial.stopped) for trial in done)},
        },
    )
    return Tuned(tuple(done), best, why, tuple(options))


def _described(done: list[Trial], trials: int) -> str:
    """The last of the finished trials, in a line."""
    trial, epochs = done[-1], len(done[-1].epoch_losses)
    what = f"loss {trial.loss:.3f} on the trusted rows"
    if trial.stopped:
        what = f"stopped after epoch {epochs}, {trial.stopped}"
    return f"{len(done)} of {trials}: {what}: {' '.join(as_options(trial.settings))}"
