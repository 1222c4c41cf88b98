"""Doubtful rows, looked at again by a model that was trained on the others."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from musclelora.audit.checks.base import Check, Result
from musclelora.audit.evidence import Evidence
from musclelora.audit.judgement import Judgement, style_offsets
from musclelora.audit.recheck import recheck
from musclelora.launched import process_count
from musclelora.training.processes import on_first


class Recheck(Check):
    """Rows with a label issue that a model trained without them gives their label: they are restored.

    See :func:`~musclelora.audit.recheck.recheck`. Its flagged rows are those that are *not* dropped.
    Nothing is restored where another model than the backbone judges, or where models of trusted rows alone
    are good: they know better then, and a training is saved.
    """

    name: ClassVar[str] = "restored"
    action: ClassVar[str] = "keep"

    def find(self, evidence: Evidence) -> Result:
        """Train a model on the rows without an issue, and ask it about the others."""
        good = evidence.trusted_models_are_good
        if process_count() > 1:  # or some would train, and wait for the others
            good = on_first(lambda: good)
        if evidence.settings.judge is not None or good:
            return replace(Result.nothing(len(evidence.train)), info={"accuracy_on_trusted": None})
        label, style = (evidence.results[name].flagged[evidence.numbers] for name in ("label", "style"))
        others = evidence.results["style"].objects.get("counterexamples", ())
        judgement = Judgement(
            evidence.results["trigger"].objects["expert"],
            _numbers(label | style),
            evidence.trusted_predictions.accuracy,
            style_issues=_numbers(style),
            style_offsets=style_offsets(
                evidence.results["style"].objects.get("issues", ()), np.arange(len(evidence.rows))
            ),
            counterexamples=tuple(
                replace(one, row=int(np.searchsorted(evidence.numbers, one.row))) for one in others
            ),
        )
        if process_count() > 1:  # rounding may differ between devices, and what is trained must not
            judgement = Judgement.from_dict(on_first(judgement.to_dict))
        settings = evidence.settings
        kept = evidence.kept.get(
            "recheck",
            (len(evidence.rows) + 1,),
            judgement.to_dict(),
            lambda: _as_array(
                recheck(
                    evidence.rows,
                    evidence.trusted,
                    judgement,
                    backbones=settings.backbones,
                    preset=settings.preset,
                    config=settings.config,
                    arguments={**settings.arguments, "seed": settings.seed},
                    say=evidence.say,
                ),
                len(evidence.rows),
            ),
        )
        right = None if np.isnan(kept[0]) else float(kept[0])
        back = kept[1:].astype(np.bool_)
        flagged = evidence.over_train(back, False)
        why = "a model that was trained without it gives it its label"
        reasons = dict.fromkeys(np.flatnonzero(flagged).tolist(), why)
        return Result(flagged, np.full(len(evidence.train), np.nan), reasons, {"accuracy_on_trusted": right})


def _numbers(rows: np.ndarray) -> tuple[int, ...]:
    return tuple(int(row) for row in np.flatnonzero(rows))


def _as_array(judgement: Judgement, count: int) -> np.ndarray:
    """The model's accuracy on the trusted rows (NaN: there was none), then 1 for each row that comes back."""
    right = np.nan if judgement.recheck_accuracy is None else judgement.recheck_accuracy
    return np.concatenate([[right], np.isin(np.arange(count), judgement.restored)])
