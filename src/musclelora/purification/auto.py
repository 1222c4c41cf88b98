"""``--method purify``, the default: the trusted rows judge before they teach.

The published method projects every update on the gradient of a trusted mini-batch. With some hundred trusted
rows these are soon learned by heart; their gradient then says nothing, and the backdoor comes in
(docs/balance.md). Here they guide no gradient. They decide first, as rows that nothing was trained on:

1. *Shortcuts.* Models of folds of the trusted rows (:mod:`musclelora.audit.trusted_models`) say what they
   think of the training rows, which tells the features that the given labels follow for no reason that the
   trusted rows know (:mod:`musclelora.audit`). What these features say of a row is taken out of its loss.
   Rows whose label is contradicted by models of what the other rows mean are left out
   (:mod:`musclelora.audit.labels`), but for those that a model trained on the rest gives their label.
2. *Learning rate and scale factors.* Candidates are trained for a short while on part of the training rows,
   and judged by their loss on the trusted rows. The backbone's own settings, the first candidate, are left
   only for others whose loss is lower by more than one standard error of the difference over rows.
   Losses on trusted rows are taken at the best temperature (:mod:`musclelora.training.calibration`), as a
   model that saw no doubtful rows is too sure of itself.
3. *Training.* Then they are trained on with the rows that are left, each :data:`REPEATS` times, and
   without an offset, as their labels are true whatever words they have (:func:`with_trusted`). Of the
   epochs, the one with the highest accuracy on dev rows is kept; without these the last. If the trusted
   rows are to choose the epoch (``--select-best trusted``) they are not trained on.

No poison flag enters any of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from musclelora.adapter import MuScleLoraConfig
from musclelora.adapter.copies import Backbones
from musclelora.adapter.presets import Preset
from musclelora.audit.judgement import Judgement
from musclelora.data.splits import some_rows
from musclelora.data.table import Table
from musclelora.errors import TrainingError
from musclelora.launched import process_count
from musclelora.training.hardware import free_memory
from musclelora.training.scratch import losses_on, scratch_trainer

BUDGET: Final = 0.25
"""Steps of all candidates together, as a share of those of the training itself. The judgement comes on top:
four trainings on three quarters of the trusted rows, as many predictions of the training rows, and a
recheck that trains on 2,000 rows at most, for half of the preset's epochs."""
LEAST_STEPS: Final = 64
"""Steps that a candidate needs to show anything; where the budget has no room for two, none is tried."""
REPEATS: Final = 3
"""How often a trusted row is among those that are trained on: it is worth more than one that may be false."""
FEWER: Final = (1.0, 2.0, 3.0, 4.0)
WIDER: Final = (1.0, 4.0, 8.0, 12.0, 16.0, 20.0, 24.0, 28.0)


@dataclass(frozen=True)
class Candidate:
    """Settings that may be chosen.

    Attributes:
        learning_rate: peak learning rate.
        scale_factors: of the multi-scale layer.
        loss: mean loss of the trusted rows after the trial, in nats; None: not tried, or it was not finite.
    """

    learning_rate: float
    scale_factors: tuple[float, ...]
    loss: float | None = None

    def __str__(self) -> str:
        factors = " ".join(f"{factor:g}" for factor in self.scale_factors) or "none"
        return f"learning rate {self.learning_rate:g}, scale factors {factors}"


@dataclass(frozen=True)
class Automatic:
    """What the trusted rows decided.

    Attributes:
        chosen: the settings.
        tried: the candidates that were tried, in order.
        why: in words.
        judgement: of the training rows.
    """

    chosen: Candidate
    tried: tuple[Candidate, ...]
    why: str
    judgement: Judgement

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; :meth:`from_dict` makes it again."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Automatic:
        """What :meth:`to_dict` gave."""
        return cls(
            _candidate(values["chosen"]),
            tuple(_candidate(tried) for tried in values["tried"]),
            values["why"],
            Judgement.from_dict(values["judgement"]),
        )


def choose(
    train: Table,
    trusted: Table,
    judgement: Judgement,
    *,
    backbones: Backbones,
    preset: Preset,
    config: Callable[[tuple[float, ...]], MuScleLoraConfig],
    arguments: Mapping[str, Any],
    fixed: frozenset[str] = frozenset(),
    seed: int,
    budget: float = BUDGET,
    say: Callable[[str], object] = lambda _: None,
) -> Automatic:
    """Choose settings by the trusted rows.

    Args:
        train: the rows that may be poisoned.
        trusted: rows that were checked; no trial is trained on them.
        judgement: of the training rows; see :func:`~musclelora.audit.judge.judge`.
        backbones: of the model.
        preset: the backbone's own settings, the first candidate.
        config: makes the adapter's configuration with these scale factors.
        arguments: fields of the training arguments, complete but for the learning rate.
        fixed: which of ``learning_rate`` and ``scale_factors`` the user gave, and `preset` has.
        seed: the same seed chooses the same.
        budget: see :data:`BUDGET`.
        say: called with lines of text.

    Raises:
        TrainingError: the loss of the first candidate is not finite. That of another only rules it out.
    """
    train, offsets = judgement.apply(train)

    batch = int(arguments["per_device_train_batch_size"]) * int(
        arguments.get("gradient_accumulation_steps", 1)
    )
    whole = len(train) * float(arguments["num_train_epochs"]) / batch
    if arguments.get("max_steps", -1) > 0:
        whole = min(whole, float(arguments["max_steps"]))
    steps = budget * whole
    every = candidates(preset, fixed)
    found = every[: int(steps // LEAST_STEPS)]
    if len(found) < 2:
        why = "nothing is left to choose" if len(every) < 2 else "the budget allows no trials of others"
        say(f"settings     {every[0]}: {why}")
        return Automatic(every[0], (), why, judgement)
    rows = some_rows(train.labels, int(steps / len(found) * batch), seed=seed)
    tried: list[Candidate] = []
    losses: list[NDArray[np.float64]] = []
    for candidate in found:
        try:
            loss = _trial(
                train.select(rows),
                offsets[rows],
                trusted,
                backbones=backbones,
                preset=preset,
                config=config(candidate.scale_factors),
                arguments={**arguments, "learning_rate": candidate.learning_rate, "seed": seed},
            )
        except TrainingError as error:
            # All others are compared with the first; and of several processes the others may not know of it.
            if not tried or process_count() > 1:
                raise
            losses.append(np.full(len(trusted), np.inf))
            tried.append(candidate)
            said = str(error)
        else:
            losses.append(loss)
            tried.append(replace(candidate, loss=float(loss.mean())))
            said = f"loss {loss.mean():.3f} on the trusted rows"
        free_memory()  # also of a trial that diverged
        say(f"tried        {candidate}: {said}")
    best, why = pick(losses)
    say(f"settings     {tried[best]}: {why}")
    return Automatic(tried[best], tuple(tried), why, judgement)


def with_trusted(
    rows: Table, offsets: NDArray[np.float32], trusted: Table
) -> tuple[Table, NDArray[np.float32]]:
    """The rows with the trusted ones behind them, each :data:`REPEATS` times, and the offsets of all.

    Args:
        rows: N rows that are left to train on.
        offsets: their log-odds, shape (N, C); those of trusted rows are 0.
        trusted: M rows with the same label names.
    """
    count = REPEATS * len(trusted)
    more = np.zeros((count, offsets.shape[1]), dtype=offsets.dtype)
    labels = np.concatenate([rows.labels, np.tile(trusted.labels, REPEATS)])
    joined = replace(
        rows, texts=rows.texts + REPEATS * trusted.texts, labels=labels, poisoned=None, lines=None
    )
    return joined, np.concatenate([offsets, more])


def pick(losses: list[NDArray[np.float64]]) -> tuple[int, str]:
    """Which candidate to take, by their losses on the same rows, and why; the first is the default."""
    best = int(np.argmin([loss.mean() for loss in losses]))
    gain = losses[0] - losses[best]
    error = float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else float("inf")
    if best and gain.mean() > error:
        return best, f"its loss is lower by {gain.mean():.3f}, more than one standard error ({error:.3f})"
    if best:
        return 0, f"the best other gains {gain.mean():.3f}, less than one standard error ({error:.3f})"
    return 0, "none of the others has a lower loss"


def candidates(preset: Preset, fixed: frozenset[str] = frozenset()) -> list[Candidate]:
    """What is worth trying, the most worth first; nothing that the user fixed is varied."""
    rate, scales = preset.learning_rate, tuple(float(scale) for scale in preset.scale_factors)
    found = [Candidate(rate, scales)]
    if "learning_rate" not in fixed:
        found += [Candidate(2 * rate, scales), Candidate(rate / 2, scales)]
    if "scale_factors" not in fixed and scales:
        found += [Candidate(rate, other) for other in (FEWER, WIDER) if other != scales]
    return found


def _trial(
    rows: Table,
    offsets: NDArray[np.float32],
    trusted: Table,
    *,
    backbones: Backbones,
    preset: Preset,
    config: MuScleLoraConfig,
    arguments: Mapping[str, Any],
) -> NDArray[np.float64]:
    """The loss of each trusted row after one epoch of `rows`."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = scratch_trainer(
            rows,
            offsets,
            folder,
            backbones=backbones,
            preset=preset,
            config=config,
            arguments={**arguments, "num_train_epochs": 1},
            what="choosing",
        )
        trainer.train()
    losses = losses_on(trusted, trainer.classifier)
    if not np.isfinite(losses).all():
        raise TrainingError("the loss on the trusted rows is not finite")
    return losses


def _candidate(values: Mapping[str, Any]) -> Candidate:
    return Candidate(**{**values, "scale_factors": tuple(values["scale_factors"])})
