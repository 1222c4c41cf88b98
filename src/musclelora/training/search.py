"""A search over a :class:`~musclelora.training.space.Space` with Optuna that a kill does not change.

Every trial draws with a sampler of its own, seeded by the search's seed and by how many trials are finished.
What it draws thus depends on the finished trials and on nothing else. A trial that a kill cut short is set
aside, which the sampler does not look at, and the next one takes its place and draws what it drew.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from musclelora.errors import OutputError, TrainingError, UsageError
from musclelora.training.space import Range, Space

if TYPE_CHECKING:
    import optuna

INSTALL = "pip install 'musclelora[tune]'"
_NAME = "tune"
_LOSSES, _STOPPED = "losses", "stopped"

Report = Callable[[float], None]
"""Called after each epoch with the loss; raises where the trial is not worth going on with."""
Measure = Callable[[Mapping[str, Any], Report], list[float]]
"""Train with settings, report after each epoch, and give the rows' losses at the end."""


@dataclass(frozen=True)
class Trial:
    """A finished trial.

    Attributes:
        settings: what was tried.
        epoch_losses: the loss after each epoch.
        row_losses: of each judging row after the last one; none where the trial was stopped.
        stopped: why it was stopped before its last epoch; empty where it was not.
    """

    settings: dict[str, Any]
    epoch_losses: tuple[float, ...]
    row_losses: tuple[float, ...] = ()
    stopped: str = ""

    @property
    def loss(self) -> float:
        """The loss after the last epoch; endless where the trial was stopped."""
        return float("inf") if self.stopped else self.epoch_losses[-1]


def search(
    file: Path,
    space: Space,
    measure: Measure,
    *,
    trials: int,
    seed: int,
    timeout: float | None = None,
    after: Callable[[list[Trial]], object] = lambda _: None,
) -> list[Trial]:
    """Try settings until so many trials are finished, those that the journal `file` has among them.

    Args:
        file: Optuna's journal. One process at a time may search with it.
        space: what to draw from; its first parameters are tried first.
        measure: tries settings. Where it raises a ``TrainingError`` the trial is finished and counts as bad.
        trials: how many there are to be in all.
        seed: the same seed draws the same.
        timeout: no trial is begun so many seconds after the start, but the very first one.
        after: called with all finished trials after each.

    Raises:
        UsageError: Optuna is not installed.
        OutputError: `file` is not Optuna's journal, or it cannot be written.
    """
    optuna = load_optuna()
    study = _open(file)
    for left in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(left.number, state=optuna.trial.TrialState.FAIL)
    distributions = {name: _distribution(found) for name, found in space.ranges.items()}
    started = time.monotonic()
    done = _finished(study, space)
    while len(done) < trials:
        if done and timeout is not None and time.monotonic() - started >= timeout:
            break
        mixed = int(np.random.SeedSequence([seed, len(done)]).generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(seed=mixed)
        if not done and not study.get_trials(states=(optuna.trial.TrialState.WAITING,)):
            study.enqueue_trial(dict(space.first))
        _run(study, study.ask(distributions), space, measure)
        done = _finished(study, space)
        after(done)
    return done


def load_optuna() -> ModuleType:
    """The package ``optuna``.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise UsageError(f"tune: no package {error.name}; expected it installed; {INSTALL}") from error
    return optuna


def _run(study: optuna.Study, trial: optuna.Trial, space: Space, measure: Measure) -> None:
    """One trial, kept as it ends. Whatever else stops it leaves it as a kill would."""
    import optuna

    reported: list[float] = []

    def report(loss: float) -> None:
        reported.append(loss)
        trial.report(loss, len(reported))
        if trial.should_prune():
            raise optuna.TrialPruned

    try:
        losses = measure(space.settings(trial.params), report)
    except optuna.TrialPruned:
        trial.set_user_attr(_STOPPED, "worse than the median")
    except TrainingError:
        trial.set_user_attr(_STOPPED, "not finite")
    else:
        trial.set_user_attr(_LOSSES, losses)
        study.tell(trial, reported[-1])
        return
    study.tell(trial, state=optuna.trial.TrialState.PRUNED)


def _open(file: Path) -> optuna.Study:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    _mend(file)
    try:
        storage = JournalStorage(JournalFileBackend(str(file), lock_obj=JournalFileOpenLock(str(file))))
        begin = optuna.load_study if storage.get_all_studies() else optuna.create_study
        return begin(storage=storage, study_name=_NAME, pruner=optuna.pruners.MedianPruner())
    except (
        ValueError,
        LookupError,
        TypeError,
        AssertionError,
    ) as error:  # Optuna checks little of what it reads
        raise OutputError(
            f"{file}: not a journal of trials ({error}); restore it, or pass --overwrite to start anew"
        ) from error


def _mend(file: Path) -> None:
    """Undo what a kill leaves behind: half a line, which Optuna would append to, and its lock."""
    for left in file.parent.glob(f"{file.name}.lock*"):
        left.unlink(missing_ok=True)
    if file.is_file():
        written = file.read_bytes()
        os.truncate(file, written.rfind(b"\n") + 1)


def _finished(study: optuna.Study, space: Space) -> list[Trial]:
    """The finished trials, in the order in which they were begun."""
    import optuna

    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return [
        Trial(
            space.settings(trial.params),
            tuple(loss for _, loss in sorted(trial.intermediate_values.items())),
            tuple(trial.user_attrs.get(_LOSSES, ())),
            trial.user_attrs.get(_STOPPED, ""),
        )
        for trial in study.get_trials(states=states)
    ]


def _distribution(found: Range) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import FloatDistribution, IntDistribution

    if found.whole:
        return IntDistribution(int(found.low), int(found.high), log=found.log)
    return FloatDistribution(found.low, found.high, log=found.log)
