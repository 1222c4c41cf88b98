"""A search over a :class:`~musclelora.tuning.space.Space` with Optuna that a kill does not change.

Every trial draws with a sampler of its own, seeded by the search's seed and by how many trials are finished.
What it draws thus depends on the finished trials and on nothing else. A trial that a kill cut short is set
aside, which the sampler does not look at, and the next one takes its place and draws what it drew.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from musclelora.errors import OutputError, TrainingError, UsageError
from musclelora.files import special
from musclelora.state import fault_of
from musclelora.tuning.search_schema import JournalLine, TriedState
from musclelora.tuning.space import Range, Space

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
    done = _finished(study, space, file)
    while len(done) < trials:
        if done and timeout is not None and time.monotonic() - started >= timeout:
            break
        mixed = int(np.random.SeedSequence([seed, len(done)]).generate_state(1)[0])
        study.sampler = optuna.samplers.TPESampler(seed=mixed)
        if not done and not study.get_trials(states=(optuna.trial.TrialState.WAITING,)):
            study.enqueue_trial(dict(space.first))
        _run(study, study.ask(distributions), space, measure)
        done = _finished(study, space, file)
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
        AttributeError,
        AssertionError,
        RecursionError,
    ) as error:  # Optuna checks little of what it reads
        raise _no_journal(file, str(error)) from error


def _no_journal(file: Path, why: str) -> OutputError:
    return OutputError(
        f"{file}: not a journal of trials ({' '.join(why.split())[:200]}); restore it, or pass --overwrite "
        "to start anew"
    )


def _mend(file: Path) -> None:
    """Undo what a kill leaves behind: half a line, which Optuna would append to, and its lock.

    Raises:
        OutputError: the file is something else than a journal, of which nothing is to be cut off.
    """
    for left in file.parent.glob(f"{file.name}.lock*"):
        left.unlink(missing_ok=True)
    if special(file) is not None or (file.exists() and not file.is_file()):
        raise _no_journal(file, "no file")
    if not file.is_file():
        return
    *lines, half = file.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            fault = fault_of(json.loads(line), JournalLine)
        except (ValueError, RecursionError):
            fault = "no JSON"
        if fault is not None:
            raise _no_journal(file, f"line {number}: {fault}")
    if half and not half.startswith(_BEGINS[: len(half)]):
        raise _no_journal(file, f"line {len(lines) + 1}: not the beginning of one")
    os.truncate(file, file.stat().st_size - len(half))


_BEGINS = b'{"op_code":'


def _finished(study: optuna.Study, space: Space, file: Path) -> list[Trial]:
    """The finished trials, in the order in which they were begun.

    Raises:
        OutputError: the journal has a trial that this search cannot have made.
    """
    import optuna

    states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return [_tried(trial, space, file) for trial in study.get_trials(states=states)]


def _tried(trial: optuna.trial.FrozenTrial, space: Space, file: Path) -> Trial:
    losses = [loss for _, loss in sorted(trial.intermediate_values.items())]
    marks = trial.user_attrs
    values = {"params": trial.params, "epoch_losses": losses, "attributes": marks}
    fault = fault_of(values, TriedState)
    if fault is None and set(trial.params) != set(space.ranges):
        fault = f"found other parameters than {', '.join(space.ranges)}"
    if fault is None and not (marks.get(_STOPPED) or (losses and marks.get(_LOSSES))):
        fault = "found no losses"
    if fault is not None:
        raise _no_journal(file, f"trial {trial.number + 1}: {fault}")
    return Trial(
        space.settings(trial.params), tuple(losses), tuple(marks.get(_LOSSES, ())), marks.get(_STOPPED, "")
    )


def _distribution(found: Range) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import FloatDistribution, IntDistribution

    if found.whole:
        return IntDistribution(int(found.low), int(found.high), log=found.log)
    return FloatDistribution(found.low, found.high, log=found.log)
