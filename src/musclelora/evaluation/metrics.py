"""The numbers a defence is judged by: CACC, ASR and what belongs beside them, as fractions in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from musclelora.errors import DataError, UsageError

Labels = NDArray[np.integer[Any]]


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a binomial proportion (Wilson 1927): it stays in [0, 1], also at 0 and n.

    Args:
        successes: how many of the `n` trials succeeded.
        n: the number of trials, at least 1.
        confidence: the coverage, between 0 and 1.

    Raises:
        DataError: n is 0: there is nothing to measure.
        UsageError: `successes` or `confidence` is out of range.
    """
    if n < 1:
        raise DataError("no rows to score: found 0, expected at least 1; check the file that was evaluated")
    if not 0 <= successes <= n:
        raise UsageError(f"successes: found {successes}, expected 0 to {n}")
    if not 0 < confidence < 1:
        raise UsageError(f"confidence: found {confidence}, expected a value between 0 and 1")
    from scipy.stats import binomtest  # type: ignore[import-untyped]  # here: it is slow to import

    low, high = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    return float(low), float(high)


@dataclass(frozen=True)
class Rate:
    """A measured share with its 95 % Wilson interval.

    Attributes:
        value: successes / n.
        low: lower end of the interval.
        high: upper end of the interval.
        n: the rows it was measured on.
    """

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, successes: int, n: int) -> Self:
        """The rate of `successes` among `n` rows.

        Raises:
            DataError: n is 0.
            UsageError: `successes` is not in 0 to n.
        """
        low, high = wilson_interval(successes, n)
        return cls(successes / n, low, high, n)

    def to_dict(self) -> dict[str, float | int]:
        """JSON ready: `value`, `low`, `high`, `n`."""
        return asdict(self)


def cacc(labels: Labels, predictions: Labels) -> Rate:
    """Clean accuracy: the share of clean rows whose predicted label is the true one.

    Args:
        labels: shape (N,), true label ids.
        predictions: shape (N,), predicted label ids.

    Raises:
        DataError: N is 0.
        UsageError: the shapes differ.
    """
    _check_shapes(labels, predictions)
    return Rate.of(int(np.count_nonzero(labels == predictions)), len(labels))


def asr(predictions: Labels, target: int) -> Rate:
    """Attack success rate: the share of triggered rows that are predicted as the target.

    The rows must be those whose *true* label is not the target. Their true labels are no argument, for a
    triggered file does not hold them: its label column is the target already (OpenBackdoor, and
    :func:`musclelora.attacks.trigger_test_set`).

    Args:
        predictions: shape (N,), predicted label ids of the triggered rows.
        target: the target label id.

    Raises:
        DataError: N is 0.
    """
    return Rate.of(int(np.count_nonzero(predictions == target)), len(predictions))


def excess_asr(asr: float, oracle_asr: float) -> float:
    """ASR − oracle ASR: what is left of the backdoor beyond the backbone's ordinary error on such texts."""
    return asr - oracle_asr


def cacc_gap(cacc: float, oracle_cacc: float) -> float:
    """Oracle CACC − CACC: the accuracy a defence costs."""
    return oracle_cacc - cacc


def confusion_matrix(labels: Labels, predictions: Labels, num_classes: int) -> NDArray[np.int64]:
    """Row counts by true label (rows) and predicted label (columns).

    Args:
        labels: shape (N,), true label ids.
        predictions: shape (N,), predicted label ids.
        num_classes: C.

    Returns:
        Shape (C, C).

    Raises:
        UsageError: the shapes differ, or an id is not in 0 to C − 1.
    """
    _check_shapes(labels, predictions)
    ids = np.concatenate([labels, predictions])
    if np.any((ids < 0) | (ids >= num_classes)):
        raise UsageError(f"label ids: found {ids.min()} to {ids.max()}, expected 0 to {num_classes - 1}")
    matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(matrix, (labels, predictions), 1)
    return matrix


def per_class_accuracy(labels: Labels, predictions: Labels, label_names: Sequence[str]) -> dict[str, Rate]:
    """The accuracy on each class's rows (its recall), by label name; a class without rows is left out.

    Raises:
        UsageError: the shapes differ, or an id has no name.
    """
    return _per_class(confusion_matrix(labels, predictions, len(label_names)), label_names)


@dataclass(frozen=True)
class Evaluation:
    """What one model scored.

    Attributes:
        cacc: clean accuracy, or None where no clean rows were given.
        asr: attack success rate, or None where no triggered rows were given.
        per_class: accuracy on the clean rows of each class that has any, by label name.
        confusion: (C, C) counts of the clean rows, true label by predicted label; empty without clean rows.
        label_names: the C class names; index = label id.
        target: the target label's name, or None.
        truncated: texts that were cut to the model's limit.
        left_out: triggered rows of the target label, which do not count.
    """

    cacc: Rate | None
    asr: Rate | None
    per_class: dict[str, Rate] = field(default_factory=dict)
    confusion: list[list[int]] = field(default_factory=list)
    label_names: tuple[str, ...] = ()
    target: str | None = None
    truncated: int = 0
    left_out: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON ready; a rate that was not measured is None."""
        return {
            "cacc": self.cacc and self.cacc.to_dict(),
            "asr": self.asr and self.asr.to_dict(),
            "per_class": {name: rate.to_dict() for name, rate in self.per_class.items()},
            "confusion_matrix": self.confusion,
            "label_names": list(self.label_names),
            "target": self.target,
            "truncated": self.truncated,
            "triggered_left_out": self.left_out,
        }


def score(
    label_names: Sequence[str],
    *,
    clean: tuple[Labels, Labels] | None = None,
    triggered_predictions: Labels | None = None,
    target: int | None = None,
    truncated: int = 0,
    left_out: int = 0,
) -> Evaluation:
    """Everything there is to say about a model's predictions.

    Args:
        label_names: the C class names; index = label id.
        clean: (labels, predictions) of the clean rows, each of shape (N,).
        triggered_predictions: shape (M,), of triggered rows whose true label is not the target.
        target: the target label id; needed with `triggered_predictions`.
        truncated: texts that were cut to the model's limit, for the record.
        left_out: triggered rows of the target label, for the record.

    Raises:
        DataError: there are predictions to score, but of no row.
        UsageError: nothing to score, a missing or unknown target, or ids and shapes that do not fit.
    """
    if clean is None and triggered_predictions is None:
        raise UsageError("nothing to score: found neither clean nor triggered rows, expected one or both")
    if target is not None and not 0 <= target < len(label_names):
        raise UsageError(f"target: found {target}, expected 0 to {len(label_names) - 1}")

    success = None
    if triggered_predictions is not None:
        if target is None:
            raise UsageError("target: found none, expected the target label of the triggered rows")
        success = asr(triggered_predictions, target)
    matrix = None if clean is None else confusion_matrix(*clean, num_classes=len(label_names))
    return Evaluation(
        cacc=None if clean is None else cacc(*clean),
        asr=success,
        per_class={} if matrix is None else _per_class(matrix, label_names),
        confusion=[] if matrix is None else matrix.tolist(),
        label_names=tuple(label_names),
        target=None if target is None else label_names[target],
        truncated=truncated,
        left_out=left_out,
    )


def _per_class(matrix: NDArray[np.int64], label_names: Sequence[str]) -> dict[str, Rate]:
    totals = matrix.sum(axis=1)
    return {
        name: Rate.of(int(matrix[label, label]), int(totals[label]))
        for label, name in enumerate(label_names)
        if totals[label]
    }


def _check_shapes(labels: Labels, predictions: Labels) -> None:
    if labels.ndim != 1 or labels.shape != predictions.shape:
        raise UsageError(
            f"predictions: found shape {predictions.shape} for labels of shape {labels.shape}, "
            "expected one prediction for each label"
        )
