"""What the defences that drop training rows share."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Self

import numpy as np

from musclelora.defenses.base import Defense, Flags
from musclelora.defenses.setting import Setting
from musclelora.errors import DataError


class Filter(Defense):
    """Looks for poisoned training rows, and trains an ordinary model on the others."""

    kind: ClassVar[str] = "filtering"

    def fit(self, setting: Setting) -> Self:
        """Find the rows to drop; then train on what is left.

        Raises:
            DataError: a label would be left without a row.
        """
        self.dropped_ = self.suspects(setting)
        rest = setting.train.select(np.flatnonzero(~self.dropped_))
        for label in np.unique(setting.train.labels):
            if label not in rest.labels:
                raise DataError(
                    f"{self.name}: it dropped all {int((setting.train.labels == label).sum())} rows of the "
                    f"label {setting.train.label_names[label]}; expected some to be left to train on; "
                    "give it other parameters"
                )
        self.classifier_ = setting.vanilla(rest)
        return self

    @abstractmethod
    def suspects(self, setting: Setting) -> Flags:
        """Which training rows to drop; shape (N,)."""
