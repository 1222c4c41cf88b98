"""What every defence is: it is fitted to a setting, and then answers texts."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from musclelora.defenses.setting import Setting
from musclelora.training import Classifier

Flags = NDArray[np.bool_]
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """What a defended model says of N texts.

    Attributes:
        labels: shape (N,), the label id given to each text.
        rejected: shape (N,), texts that the defence took for triggered: no label is given to them.
        scores: shape (N,), how much each text looks triggered, the more the larger; None where the defence
            has no opinion on single texts.
    """

    labels: NDArray[np.int64]
    rejected: Flags
    scores: Scores | None = None


class Defense(ABC):
    """A defence: parameters in the constructor, what it learns in :meth:`fit`.

    Attributes:
        name: what grids and the command line call it.
        kind: ``"training"`` (another way to train), ``"filtering"`` (drops training rows and trains on the
            others) or ``"inference"`` (an undefended model, and a look at every text it is given).
        dropped_: shape (N,), the training rows that were not trained on; None where the defence drops none.
        classifier_: the model that gives the labels.
    """

    name: ClassVar[str]
    kind: ClassVar[str]
    dropped_: Flags | None = None
    classifier_: Classifier

    @classmethod
    def parameters(cls) -> tuple[str, ...]:
        """The names of the constructor's parameters."""
        return tuple(inspect.signature(cls).parameters)

    def rows_seen(self, trusted: int) -> float | None:  # noqa: ARG002 - of those that have their own way
        """How many rows it trains on, every time it sees one, for a forecast; None: as many as training does.

        Args:
            trusted: how many trusted rows there are.
        """
        return None

    @abstractmethod
    def fit(self, setting: Setting) -> Self:
        """Learn from what a defender has.

        Raises:
            DataError, ModelError, TrainingError, UsageError: each says what to do.
        """

    def predict(self, texts: Sequence[str]) -> Answers:
        """Answer N texts; :meth:`fit` comes first. Unless a defence says otherwise, none is rejected."""
        labels = self.classifier_.predict(texts).labels
        return Answers(labels, np.zeros(len(labels), dtype=np.bool_))
