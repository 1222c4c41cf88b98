"""Measuring a defence: accuracy, attack success, and how well it tells triggered texts and poisoned rows."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

from musclelora.data.table import Table
from musclelora.defenses.base import Defense, Flags
from musclelora.defenses.setting import Setting
from musclelora.evaluation import Rate, asr, cacc
from musclelora.training.hardware import peak_memory

_REJECTED = -1


@dataclass(frozen=True)
class Measured:
    """What a defence scored on one setting.

    Attributes:
        cacc: clean accuracy; a rejected clean text is an error.
        asr: attack success rate; a rejected triggered text is not a success.
        rejected_clean: the share of clean texts that were rejected.
        rejected_triggered: the share of triggered texts that were rejected.
        auroc: how well the scores tell triggered test texts from clean ones; None without scores.
        dropped_poisoned: the share of poisoned training rows that were dropped; None where none are, or the
            defence drops no rows.
        dropped_clean: the share of clean training rows that were dropped; None as above.
        fit_seconds: the time to fit, that of training the models taken from elsewhere included, and
            waiting for them not.
        predict_seconds: the time to answer the clean and the triggered texts.
        peak_memory: bytes, of the process until now or where the models were trained.
    """

    cacc: Rate
    asr: Rate
    rejected_clean: float
    rejected_triggered: float
    auroc: float | None
    dropped_poisoned: float | None
    dropped_clean: float | None
    fit_seconds: float
    predict_seconds: float
    peak_memory: int


def measure(
    defense: Defense,
    setting: Setting,
    *,
    clean: Table,
    triggered: Table,
    target: int,
    poisoned: Flags | None = None,
) -> Measured:
    """Fit a defence, and measure it.

    Args:
        defense: what to measure.
        setting: what the defender has.
        clean: clean test rows with their true labels.
        triggered: test rows of other labels than the target, with the trigger; their labels are not read.
        target: the target label's id.
        poisoned: shape (N,), the training rows that are poisoned, to score what the defence dropped.

    Raises:
        DataError, ModelError, TrainingError, UsageError: as the defence's ``fit``.
    """
    # A setting may have served another defence before.
    elsewhere = setting.reused_seconds - setting.waited_seconds
    began = time.perf_counter()
    defense.fit(setting)
    fitted = time.perf_counter()
    elsewhere = setting.reused_seconds - setting.waited_seconds - elsewhere
    on_clean, on_triggered = defense.predict(clean.texts), defense.predict(triggered.texts)
    done = time.perf_counter()
    auroc = None
    if on_clean.scores is not None and on_triggered.scores is not None:
        truth = np.r_[np.zeros(len(clean)), np.ones(len(triggered))]
        auroc = float(roc_auc_score(truth, np.r_[on_clean.scores, on_triggered.scores]))
    dropped: list[float | None] = [None, None]
    if defense.dropped_ is not None and poisoned is not None:
        groups = (defense.dropped_[poisoned], defense.dropped_[~poisoned])
        dropped = [float(group.mean()) if len(group) else None for group in groups]
    return Measured(
        cacc=cacc(clean.labels, np.where(on_clean.rejected, _REJECTED, on_clean.labels)),
        asr=asr(np.where(on_triggered.rejected, _REJECTED, on_triggered.labels), target),
        rejected_clean=float(on_clean.rejected.mean()),
        rejected_triggered=float(on_triggered.rejected.mean()),
        auroc=auroc,
        dropped_poisoned=dropped[0],
        dropped_clean=dropped[1],
        fit_seconds=fitted - began + elsewhere,
        predict_seconds=done - fitted,
        peak_memory=max(peak_memory(), setting.reused_memory),
    )
