"""Rows whose given label is contradicted by models of what the other rows mean."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from musclelora.audit.checks.base import Check, Result
from musclelora.audit.evidence import Evidence
from musclelora.audit.labels import cross_fit_pred_probs, label_issues


class Labels(Check):
    """Label issues: :mod:`musclelora.audit.labels`.

    The score of a row is the predicted probability of its given label, by models that were not fitted on it:
    those of the other rows where they say more than the trusted rows do, else those of the trusted rows.

    Later checks find the predicted probabilities, shape (rows, C), as ``objects["pred_probs"]``.
    """

    name: ClassVar[str] = "label"
    score: ClassVar[str | None] = "label_score"

    def find(self, evidence: Evidence) -> Result:
        """Cross-fit models of sentence vectors; triggers come before."""
        rows, trusted_probs = evidence.rows, evidence.trusted_predictions.pred_probs
        offsets = evidence.results["trigger"].objects["expert"].log_weights(rows.texts)
        found = cross_fit_pred_probs(
            evidence.vectors(), rows.labels, trusted_probs, offsets, seed=evidence.settings.seed
        )
        pred_probs = trusted_probs if found is None else found
        scores = evidence.over_train(pred_probs[np.arange(len(rows)), rows.labels], np.nan)
        if found is None:
            said = "the rows say no more of each other than the trusted rows do"
            evidence.say(f"left out     no rows, as {said}")
            nobody = np.zeros(len(evidence.train), dtype=np.bool_)
            return Result(nobody, scores, objects={"pred_probs": pred_probs}, skipped=said)
        flagged = label_issues(pred_probs, rows.labels)
        evidence.say(
            f"left out     {int(flagged.sum()):,} of {len(rows):,} rows: models of what the other rows mean "
            "contradict their label"
        )
        names = rows.label_names
        reasons = {
            int(evidence.numbers[row]): f"means {names[pred_probs[row].argmax()]!r} rather than "
            f"{names[rows.labels[row]]!r}"
            for row in np.flatnonzero(flagged)
        }
        return Result(
            evidence.over_train(flagged, False), scores, reasons, objects={"pred_probs": pred_probs}
        )
