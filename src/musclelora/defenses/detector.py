"""What the inference-time defences that reject texts share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from musclelora.defenses.base import Answers, Defense, Scores
from musclelora.defenses.setting import Setting
from musclelora.limits import check_number


class Detector(Defense):
    """An undefended model that gives no answer to texts which look triggered.

    Args:
        frr: the share of clean texts that may be rejected by mistake; it sets the threshold, on the trusted
            rows.

    Attributes:
        threshold_: texts with a larger score are rejected.

    Raises:
        UsageError: `frr` is not in [0, 1].
    """

    kind: ClassVar[str] = "inference"

    def __init__(self, frr: float = 0.01) -> None:
        check_number(f"{self.name} frr", frr, 0, 1)
        self.frr = frr

    def fit(self, setting: Setting) -> Self:
        """Train the undefended model; then find the threshold on the trusted rows."""
        setting.check_trusted_texts(self.name)
        self.classifier_ = setting.vanilla()
        self.prepare(setting)
        self.threshold_ = float(np.quantile(self.scores(setting.trusted.texts), 1 - self.frr))
        return self

    def predict(self, texts: Sequence[str]) -> Answers:
        """The undefended model's labels, and which texts it gives none."""
        scores = self.scores(texts)
        return Answers(self.classifier_.predict(texts).labels, scores > self.threshold_, scores)

    @abstractmethod
    def prepare(self, setting: Setting) -> None:
        """What the scores need, beside the undefended model."""

    @abstractmethod
    def scores(self, texts: Sequence[str]) -> Scores:
        """How much each of N texts looks triggered; shape (N,)."""
