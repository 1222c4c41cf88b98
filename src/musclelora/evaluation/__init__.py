"""Evaluation: CACC, ASR and their intervals. Poison flags may be read here and nowhere else."""

from __future__ import annotations

from musclelora.data.labels import target_id
from musclelora.evaluation.evaluate import evaluate
from musclelora.evaluation.metrics import (
    Evaluation,
    Rate,
    asr,
    cacc,
    cacc_gap,
    confusion_matrix,
    excess_asr,
    per_class_accuracy,
    score,
    wilson_interval,
)
from musclelora.evaluation.triggered import Triggered, load_triggered

__all__ = [
    "Evaluation",
    "Rate",
    "Triggered",
    "asr",
    "cacc",
    "cacc_gap",
    "confusion_matrix",
    "evaluate",
    "excess_asr",
    "load_triggered",
    "per_class_accuracy",
    "score",
    "target_id",
    "wilson_interval",
]
