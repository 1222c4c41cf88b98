"""Rows that are put alike, and have a label that their meaning does not give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from musclelora.audit.checks.base import Check, Result
from musclelora.audit.evidence import DEPTHS, Evidence
from musclelora.audit.judgement import Counterexample
from musclelora.audit.labels import halfway
from musclelora.audit.styles import find_style_issues

LOWER: Final = DEPTHS[:2]
"""Of the judge's depth: further up, hidden states tell less of how a text is put."""


class Styles(Check):
    """Style issues: :mod:`musclelora.audit.styles`.

    The score of a row is the probability that it has a style that brings its label, given how it is put and
    that it has the label; 0 for rows with another label. The styles are ``objects["issues"]``.
    """

    name: ClassVar[str] = "style"
    score: ClassVar[str | None] = "style_score"

    def find(self, evidence: Evidence) -> Result:
        """Compare how rows are put; triggers and labels come before."""
        labels, rows = evidence.results["label"], evidence.rows
        if labels.skipped:
            return Result.nothing(len(evidence.train), "there are no predicted labels to compare with")

        def embed(texts: Sequence[str]) -> NDArray[np.float32]:
            if tuple(texts) == rows.texts:  # nothing was taken out of them
                return np.stack([evidence.vectors(depth) for depth in LOWER])
            return evidence.embed(texts, LOWER)

        found = find_style_issues(
            rows.texts,
            rows.labels,
            evidence.results["trigger"].objects["expert"],
            _meant(evidence, labels.objects["pred_probs"]),
            embed=embed,
            seed=evidence.settings.seed,
        )
        flagged, scores = np.zeros(len(rows), dtype=np.bool_), np.zeros(len(rows))
        reasons: dict[int, str] = {}
        for issue in found:
            name = rows.label_names[issue.label]
            told = ", ".join(map(repr, issue.telling))
            evidence.say(
                f"style        {len(issue.rows):,} rows share a style ({told}) and have the label {name!r} "
                "more often than their meaning explains"
            )
            flagged[list(issue.rows)] = True
            scores = np.maximum(scores, issue.scores)
            reasons |= {
                int(evidence.numbers[row]): f"has a style that goes with {name!r} whatever a text means"
                for row in issue.rows
            }
        styles = [
            {"label": rows.label_names[i.label], "p_value": i.p_value, "telling": list(i.telling)}
            for i in found
        ]
        others = _counterexamples(evidence, np.flatnonzero(flagged))
        for one in others:
            name = rows.label_names[one.label]
            reasons[one.row] += f"; trained on as {name!r}, to teach that the style means nothing"
        if found:
            taught = "; a training has them with the labels that models of trusted rows give them"
            evidence.say(f"style        they are dropped{taught if others else ''}")
        return Result(
            evidence.over_train(flagged, False),
            evidence.over_train(scores, np.nan),
            reasons,
            {"styles": styles},
            {"issues": found, "counterexamples": others},
        )


def _meant(evidence: Evidence, pred_probs: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the rows mean, shape (rows, C): halfway to the trusted models, where these are good enough."""
    if not evidence.trusted_models_are_good:  # they doubt so many rows that clean ones may look like a style
        return pred_probs
    return halfway(evidence.trusted_predictions.pred_probs, pred_probs)


def _counterexamples(evidence: Evidence, rows: NDArray[np.int64]) -> list[Counterexample]:
    """Rows with a style, with the labels that models of trusted rows alone give them, which know no style.

    There are none where these models are not good enough: they would teach their errors instead.
    """
    if not evidence.trusted_models_are_good:
        return []
    labels = evidence.trusted_predictions.pred_probs[rows].argmax(axis=1)
    numbers = evidence.numbers[rows]
    return [Counterexample(int(row), int(label)) for row, label in zip(numbers, labels, strict=True)]
