"""A search over a :class:`~musclelora.tuning.space.Space` with Optuna that a kill does not change.

The finished trials are kept in a file of our own, and Optuna is told of them anew before each draw, with a
sampler seeded by the search's seed and their number. What is drawn thus depends on the finished trials and on
nothing else. A trial that a kill cut short is not among them, and is drawn and run again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from musclelora.errors import OutputError, TrainingError, UsageError
from musclelora.files import write_json
from musclelora.state import read_state
from musclelora.tuning.search_schema import TrialState
from musclelora.tuning.space import Range, Space

if TYPE_CHECKING:
    import optuna

INSTALL = "pip install 'musclelora[tune]'"
ANEW = "restore it, or pass --overwrite to start anew"

Report = Callable[[float], None]
"""Called after each epoch with the loss; raises where the trial is not worth going on with."""
Measure = Callable[[Mapping[str, Any], Report], list[float]]
"""Train with settings, report after each epoch, and give the rows' losses at the end."""


@dataclass(frozen=True)
class Trial:
    """A finished trial.

    Attributes:
        parameters: what was drawn.
        settings: what that means.
        epoch_losses: the loss after each epoch.
        row_losses: of each judging row after the last one; none where the trial was stopped.
        stopped: why it was stopped before its last epoch; empty where it was not.
    """

    parameters: dict[str, float]
    settings: dict[str, Any]
    epoch_losses: list[float]
    row_losses: list[float]
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
    """Try settings until so many trials are finished, those in `file` among them.

    Args:
        file: where finished trials are kept. One process at a time may search with it.
        space: what to draw from; its first parameters are tried first.
        measure: tries settings. Where it raises a ``TrainingError`` the trial is finished and counts as bad.
        trials: how many there are to be in all.
        seed: the same seed draws the same.
        timeout: no trial is begun so many seconds after the start, but the very first one.
        after: called with all finished trials after each.

    Raises:
        UsageError: Optuna is not installed.
        OutputError: `file` does not hold trials of this search, or it cannot be written.
    """
    load_optuna()
    done = _kept(file, space)
    started = time.monotonic()
    while len(done) < trials:
        if done and timeout is not None and time.monotonic() - started >= timeout:
            break
        done.append(_run(_draw(done, space, seed), space, measure))
        write_json(file, [asdict(trial) for trial in done])
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


def _kept(file: Path, space: Space) -> list[Trial]:
    """The finished trials of an earlier process.

    Raises:
        OutputError: the file holds something that this search cannot have written.
    """
    try:
        kept = read_state(file, list[TrialState], OutputError, remedy=ANEW)
    except FileNotFoundError:
        return []
    done = []
    for number, values in enumerate(kept, 1):
        parameters, ranges = values["parameters"], space.ranges
        if parameters.keys() != ranges.keys() or any(v not in ranges[name] for name, v in parameters.items()):
            raise OutputError(f"{file}: trial {number}: found parameters that are not of this search; {ANEW}")
        done.append(Trial(**{**values, "settings": space.settings(parameters)}))
    return done


def _draw(done: list[Trial], space: Space, seed: int) -> optuna.Trial:
    """The trial after those that are finished, by a study that knows them and nothing else."""
    import optuna
    from optuna.trial import TrialState as Ended

    mixed = int(np.random.SeedSequence([seed, len(done)]).generate_state(1)[0])
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=mixed), pruner=optuna.pruners.MedianPruner()
    )
    distributions = {name: _distribution(found) for name, found in space.ranges.items()}
    for trial in done:
        study.add_trial(
            optuna.create_trial(
                params=trial.parameters,
                distributions=distributions,
                intermediate_values=dict(enumerate(trial.epoch_losses, 1)),
                value=None if trial.stopped else trial.loss,
                state=Ended.PRUNED if trial.stopped else Ended.COMPLETE,
            )
        )
    if not done:
        study.enqueue_trial(dict(space.first))
    return study.ask(distributions)


def _run(drawn: optuna.Trial, space: Space, measure: Measure) -> Trial:
    """Run one trial to its end."""
    import optuna

    settings, losses = space.settings(drawn.params), list[float]()

    def report(loss: float) -> None:
        losses.append(loss)
        drawn.report(loss, len(losses))
        if drawn.should_prune():
            raise optuna.TrialPruned

    try:
        return Trial(drawn.params, settings, losses, measure(settings, report))
    except optuna.TrialPruned:
        return Trial(drawn.params, settings, losses, [], "worse than the median")
    except TrainingError:
        return Trial(drawn.params, settings, losses, [], "not finite")


def _distribution(found: Range) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import FloatDistribution, IntDistribution

    if found.whole:
        return IntDistribution(int(found.low), int(found.high), log=found.log)
    return FloatDistribution(found.low, found.high, log=found.log)
