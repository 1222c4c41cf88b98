"""Measuring a classifier: clean accuracy and attack success rate."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from musclelora.data.labels import target_id
from musclelora.data.table import Table
from musclelora.errors import DataError, UsageError
from musclelora.evaluation.metrics import Evaluation, score
from musclelora.evaluation.triggered import Triggered, of_other_labels

if TYPE_CHECKING:  # importing the training room loads torch
    from musclelora.training.classifier import Classifier


def evaluate(
    classifier: Classifier,
    *,
    clean: Table | None = None,
    triggered: Table | Triggered | Sequence[str] | None = None,
    target: int | str | None = None,
    batch_size: int = 64,
    progress: Callable[[int], object] | None = None,
) -> Evaluation:
    """Clean accuracy (CACC), and the share of triggered rows predicted as the target (ASR).

    Args:
        classifier: what to measure.
        clean: the clean test split, N rows with their true labels.
        triggered: texts, or rows, whose true label is not the target, with the trigger in them. Of a table,
            rows of the target label whose poison flag is not set do not count: see
            :mod:`musclelora.evaluation.triggered`.
        target: the target label, as id or name; needed with `triggered`.
        batch_size: rows per forward pass.
        progress: called after each batch with the number of rows it held.

    Returns:
        Rates with 95 % Wilson intervals, per-class accuracies and the confusion matrix of the clean rows.

    Raises:
        UsageError: neither table is given, or the target is missing or unknown.
        DataError: the clean table's labels are not the classifier's, or all triggered rows are of the target.
    """
    if clean is None and triggered is None:
        raise UsageError("evaluate: no rows were given; pass clean rows, triggered rows or both")
    if clean is not None and clean.label_names != classifier.label_names:
        raise DataError(
            f"{clean.source}: its labels are {list(clean.label_names)}, the classifier's are "
            f"{list(classifier.label_names)}; load it with label_names=classifier.label_names"
        )
    goal = None if triggered is None else target_id(target, classifier.label_names)
    if isinstance(triggered, Table) and goal is not None:
        triggered = of_other_labels(triggered, classifier.label_names[goal])
    predict = functools.partial(classifier.predict, batch_size=batch_size, progress=progress)
    clean_said = None if clean is None else predict(clean.texts)
    left_out = triggered.left_out if isinstance(triggered, Triggered) else 0
    texts = triggered.texts if isinstance(triggered, Table | Triggered) else triggered
    triggered_said = None if texts is None else predict(texts)
    return score(
        classifier.label_names,
        clean=None if clean is None or clean_said is None else (clean.labels, clean_said.labels),
        triggered_predictions=None if triggered_said is None else triggered_said.labels,
        target=goal,
        truncated=sum(said.truncated for said in (clean_said, triggered_said) if said is not None),
        left_out=left_out,
    )
