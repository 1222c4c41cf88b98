"""What the trusted rows alone say of the training rows: models of folds of them, calibrated on the rest."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from musclelora.adapter.copies import Backbones
from musclelora.adapter.presets import Preset
from musclelora.audit.folds import FOLDS, fold_numbers
from musclelora.data.table import Table
from musclelora.training.calibration import best_temperature, losses_at
from musclelora.training.hardware import free_memory

if TYPE_CHECKING:
    from musclelora.training.classifier import Classifier

Floats = NDArray[np.float64]

TRUSTED_ONLY: Final[Mapping[str, Any]] = {
    "learning_rate": 1e-4,
    "num_train_epochs": 12,
    "per_device_train_batch_size": 16,
}
"""What training the whole backbone on some hundred rows wants."""
_LARGE_RATE = 5e-4  # of LoRA


@dataclass(frozen=True)
class TrustedPredictions:
    """Models trained on folds of M trusted rows, and what they say together.

    Attributes:
        log_probabilities: shape (N, C), of the texts that were asked about, the folds' mean.
        held_out: shape (M, C), of each trusted row by the model that was not trained on it; NaN for rows that
            every model was trained on, as their class has no other.
        accuracy: the share of held-out rows that were right.
        temperature: what both are divided by to be calibrated; at least 1.
        loss: the held-out rows' mean loss at that temperature, in nats.
    """

    log_probabilities: Floats
    held_out: Floats
    accuracy: float
    temperature: float
    loss: float

    @property
    def pred_probs(self) -> Floats:
        """The calibrated class probabilities of the texts, shape (N, C), none of them 0."""
        q = softmax(self.log_probabilities / self.temperature, axis=1)
        # As in Laplace's rule, one more row than were seen may be wrong, however sure the models are.
        share = 1 / (len(self.held_out) + 2)
        pred_probs: Floats = (1 - share) * q + share / q.shape[1]
        return pred_probs


def trusted_predictions(
    trusted: Table,
    texts: Sequence[str],
    *,
    backbones: Backbones,
    preset: Preset,
    arguments: Mapping[str, Any],
    seed: int,
    folds: int = FOLDS,
) -> TrustedPredictions:
    """Train on all but one fold of the trusted rows, in turn, and ask about the held-out rows and the texts.

    Args:
        trusted: M rows that were checked.
        texts: N texts to be judged.
        backbones: of the model; all of it is trained, or LoRA where it is a decoder or of width 1024 or more.
        preset: the backbone's preset, for what `arguments` and :data:`TRUSTED_ONLY` leave open.
        arguments: fields of :class:`~musclelora.training.MuScleTrainingArguments`, such as ``bf16``.
        seed: of the folds and of the training.
        folds: how many; fewer where no class has as many rows.

    Raises:
        DataError: no class has two trusted rows, so that none can be held out.
    """
    judged = np.zeros((len(texts), trusted.num_classes))
    held_out = np.full((len(trusted), trusted.num_classes), np.nan)
    numbers = fold_numbers(trusted, folds, seed)
    count = int(numbers.max()) + 1
    for fold, model_of_fold in _fold_models(trusted, numbers, backbones, preset, arguments, seed):
        out = np.flatnonzero(numbers == fold)
        said = model_of_fold.predict([*(trusted.texts[i] for i in out), *texts]).probabilities
        logs = np.log(np.clip(said.astype(np.float64), 1e-7, 1.0))
        held_out[out] = logs[: len(out)]
        judged += logs[len(out) :] / count
    return calibrated(judged, held_out, trusted.labels)


def cross_fitted(
    trusted: Table,
    rows: NDArray[np.int64],
    texts: Sequence[str],
    *,
    backbones: Backbones,
    preset: Preset,
    arguments: Mapping[str, Any],
    seed: int,
    folds: int = 2,
) -> NDArray[np.int64]:
    """The labels of changed trusted rows, each by a model that was not trained on the row, shape (K,).

    Args:
        trusted: M rows that were checked.
        rows: shape (K,), the row that each text was made of.
        texts: K texts.
        backbones: of the model.
        preset: its preset.
        arguments: fields of the training arguments, as :func:`trusted_predictions` takes them.
        seed: of the folds and of the training.
        folds: how many.
    """
    numbers = fold_numbers(trusted, folds, seed)
    said = np.zeros(len(texts), dtype=np.int64)
    for fold, model_of_fold in _fold_models(trusted, numbers, backbones, preset, arguments, seed):
        # A row that is the only one of its class is in every model; the first answers for it.
        out = np.flatnonzero((numbers[rows] == fold) | ((numbers[rows] < 0) & (fold == 0)))
        said[out] = model_of_fold.predict([texts[int(i)] for i in out]).labels
    return said


def _fold_models(
    trusted: Table,
    numbers: NDArray[np.int64],
    backbones: Backbones,
    preset: Preset,
    arguments: Mapping[str, Any],
    seed: int,
) -> Iterator[tuple[int, Classifier]]:
    """Each fold's number and a model trained on the rows of the others; it is gone when the next comes."""
    from musclelora.training.scratch import whole_backbone_trainer  # which imports half of transformers

    for fold in range(int(numbers.max()) + 1):
        values = {**TRUSTED_ONLY, **arguments, "seed": (seed + fold) % 2**32}
        rate = values.pop("learning_rate") if "learning_rate" not in arguments else None
        with tempfile.TemporaryDirectory() as folder:
            trainer = whole_backbone_trainer(
                trusted.select(np.flatnonzero(numbers != fold)),
                folder,
                backbones=backbones,
                preset=preset,
                arguments=values,
                learning_rate=rate or values["learning_rate"],
                large_learning_rate=_LARGE_RATE,
            )
            trainer.train()
        yield fold, trainer.classifier
        del trainer
        free_memory()


def calibrated(judged: Floats, held_out: Floats, labels: NDArray[np.int64]) -> TrustedPredictions:
    """What models of folds said, with the temperature at which it is calibrated.

    Args:
        judged: shape (N, C), mean log-probabilities of the texts.
        held_out: shape (M, C), log-probabilities of the trusted rows; NaN for rows that were never held out.
        labels: shape (M,), theirs.
    """
    asked = np.flatnonzero(~np.isnan(held_out).any(axis=1))
    seen, truth = held_out[asked], labels[asked]
    temperature = best_temperature(seen, truth)
    accuracy = float((seen.argmax(axis=1) == truth).mean())
    return TrustedPredictions(
        judged, held_out, accuracy, temperature, float(losses_at(seen, truth, temperature).mean())
    )
