"""Rows that are put as those with a trigger are."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from musclelora.audit.checks.base import Check, Result
from musclelora.audit.evidence import DEPTHS, Evidence
from musclelora.audit.styles import find_style_issues


class Styles(Check):
    """Style issues: :mod:`musclelora.audit.styles`.

    The score of a row is the probability that it is of the style of the rows with a trigger, given how it is
    put and that it has their label; 0 for rows with another label.
    """

    name: ClassVar[str] = "style"
    score: ClassVar[str | None] = "style_score"

    def find(self, evidence: Evidence) -> Result:
        """Compare how rows are put; triggers and labels come before."""
        count, labels = len(evidence.train), evidence.results["label"]
        expert = evidence.results["trigger"].objects["expert"]
        if labels.skipped:
            return Result.nothing(count, "there are no predicted labels to compare with")
        if not expert.shortcuts:
            return Result.nothing(count, "no row has a trigger whose style others could have")
        rows = evidence.rows
        found = find_style_issues(
            rows.texts,
            rows.labels,
            expert,
            labels.objects["pred_probs"],
            embed=lambda texts: evidence.embed(texts, DEPTHS[:1])[0],
            seed=evidence.settings.seed,
        )
        flagged, scores = np.zeros(len(rows), dtype=np.bool_), np.zeros(len(rows))
        reasons: dict[int, str] = {}
        for issue in found:
            name = rows.label_names[issue.label]
            evidence.say(
                f"style        {len(issue.rows):,} rows are put as those with a shortcut to {name!r} are, "
                "and have it: left out as well"
            )
            flagged[list(issue.rows)] = True
            scores = np.maximum(scores, issue.scores)
            reasons |= {
                int(evidence.numbers[row]): f"is put as rows with a trigger to {name!r} are"
                for row in issue.rows
            }
        gains = {rows.label_names[issue.label]: issue.gain for issue in found}
        return Result(
            evidence.over_train(flagged, False), evidence.over_train(scores, np.nan), reasons, {"gain": gains}
        )
