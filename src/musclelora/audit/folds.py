"""Folds of the trusted rows."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from musclelora.data.table import Table
from musclelora.errors import DataError

FOLDS: Final = 4


def fold_numbers(trusted: Table, folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each trusted row, each class spread over all of them; -1: the only row of its class.

    Raises:
        DataError: no class has two rows.
    """
    rng = np.random.default_rng(seed)
    numbers = np.full(len(trusted), -1, dtype=np.int64)
    counts = np.bincount(trusted.labels, minlength=trusted.num_classes)
    if counts.max(initial=0) < 2:
        raise DataError(
            f"{trusted.source}: no label has two trusted rows, so that none can be held out; add rows"
        )
    folds = min(folds, int(counts.max()))
    start = 0
    for label in np.flatnonzero(counts >= 2):
        rows = rng.permutation(np.flatnonzero(trusted.labels == label))
        numbers[rows] = (start + np.arange(len(rows))) % folds
        start += len(rows)
    return numbers
