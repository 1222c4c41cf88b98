"""Features that the given labels follow and the trusted rows do not explain."""

from __future__ import annotations

from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from musclelora.audit.checks.base import Check, Result
from musclelora.audit.evidence import Evidence
from musclelora.audit.features import FeatureTable
from musclelora.audit.significance import family_wise, planted_share, tail_probabilities
from musclelora.audit.triggers import (
    NATURAL,
    Shortcut,
    ShortcutExpert,
    find_shortcuts,
    probabilities_of,
    with_the_label_counts,
)
from musclelora.data.table import Table

_SHOWN: Final = 12  # further signs that are printed; the results have them all


class Triggers(Check):
    """Words, pairs, ends and characters that labels follow: :mod:`musclelora.audit.triggers`.

    The score of a row is the probability that it was planted, given that it has the feature and its label
    (:func:`~musclelora.audit.significance.planted_share`), times that of the feature not to be a natural one
    (1 less its family-wise p-value); 0 where it has none.

    Later checks find the features as ``objects["expert"]``.
    """

    name: ClassVar[str] = "trigger"
    score: ClassVar[str | None] = "trigger_score"
    action: ClassVar[str] = "keep"  # what becomes of these rows the verdict decides

    def find(self, evidence: Evidence) -> Result:
        """Look for them in the rows without a trusted text."""
        rows, predictions, say = evidence.rows, evidence.trusted_predictions, evidence.say
        say(
            f"shortcuts    {len(evidence.trusted)} trusted rows explain others of themselves with an "
            f"accuracy of {predictions.accuracy:.3f}"
        )
        expert = find_shortcuts(rows.texts, rows.labels, predictions.pred_probs)
        for shortcut in expert.shortcuts:
            if not shortcut.sign:
                say(f"shortcut     {describe(shortcut, rows.label_names)}")
        signs = [str(shortcut.feature) for shortcut in expert.shortcuts if shortcut.sign]
        if signs:
            more = f" and {len(signs) - _SHOWN} more" if len(signs) > _SHOWN else ""
            say(f"signs        of the same: {', '.join(signs[:_SHOWN])}{more}")
        if not expert.shortcuts:
            say(f"shortcuts    none among {expert.tested:,} words, pairs of words and marks")
        holders = expert.holders(rows.texts)
        p = _null(evidence)
        values, smallest = _p_values(rows, p, expert)
        scores = np.zeros(len(rows))
        strongest = np.full(len(rows), -1)
        shares = []
        for number, (shortcut, having) in enumerate(zip(expert.shortcuts, holders, strict=True)):
            odds = logit(np.clip(p[:, shortcut.label], 1e-9, 1 - 1e-9)) + NATURAL * expert.natural
            share = planted_share(having, rows.labels == shortcut.label, expit(odds)) * (1 - values[number])
            shares.append(share)
            having = having[rows.labels[having] == shortcut.label]
            better = having[scores[having] < share]
            scores[better], strongest[better] = share, number
        flagged = strongest >= 0
        reasons = {
            int(evidence.numbers[row]): f"has {expert.shortcuts[strongest[row]].feature}"
            for row in np.flatnonzero(flagged)
        }
        return Result(
            evidence.over_train(flagged, False),
            evidence.over_train(scores, np.nan),
            reasons,
            {"planted": shares, "p_values": values, "p_value": smallest},
            {"expert": expert},
        )


def _null(evidence: Evidence) -> NDArray[np.float64]:
    """The labels' probabilities by the trusted rows, with how often each label occurs, shape (rows, C)."""
    truth = np.eye(evidence.rows.num_classes)[evidence.rows.labels]
    logits = np.log(np.clip(evidence.trusted_predictions.pred_probs, 1e-4, 1.0))
    return probabilities_of(with_the_label_counts(logits, truth))


def _p_values(rows: Table, p: NDArray[np.float64], expert: ShortcutExpert) -> tuple[list[float], float]:
    """The family-wise p-value of each feature found, and the smallest of all that were tested."""
    table = FeatureTable(rows.texts)
    truth = np.eye(rows.num_classes)[rows.labels]
    corrected = family_wise(tail_probabilities(table, truth, p, expert.natural))
    place = {feature: number for number, feature in enumerate(table.features)}
    values = [float(corrected[place[shortcut.feature], shortcut.label]) for shortcut in expert.shortcuts]
    return values, float(corrected.min(initial=1.0))


def describe(shortcut: Shortcut, label_names: tuple[str, ...]) -> str:
    """A shortcut in a line; its words are the data's."""
    return (
        f"{shortcut.feature} means {label_names[shortcut.label]!r} in {shortcut.labelled:,} of "
        f"{shortcut.rows:,} rows, where {shortcut.expected:,.0f} are to be expected"
    )
