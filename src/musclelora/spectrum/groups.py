"""Named groups of rows: clean and triggered where flags say so, else suspected and others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musclelora.errors import DataError
from musclelora.spectrum.settings import MIN_ROWS

Rows = NDArray[np.int64]
SUSPECTED_SHARE = 0.1


def flag_groups(flags: NDArray[np.bool_] | None) -> dict[str, Rows]:
    """The groups that poison flags name: clean and triggered; without flags, all rows in one.

    Args:
        flags: shape (N,), or None.

    Raises:
        DataError: a group has fewer rows than an analysis needs.
    """
    if flags is None:
        return {}
    groups = {"clean": np.flatnonzero(~flags), "triggered": np.flatnonzero(flags)}
    remedy = "sample more rows with --spectrum-rows, or name no groups: --no-spectrum-flags"
    return _large_enough(groups, len(flags), remedy)


def _large_enough(groups: dict[str, Rows], count: int, remedy: str) -> dict[str, Rows]:
    """The groups of a sample of `count` rows; raises :class:`DataError` where one has too few rows."""
    for name, rows in groups.items():
        if len(rows) < MIN_ROWS:
            raise DataError(
                f"spectrum: group {name!r} has {len(rows)} of the sample's {count} rows, "
                f"expected at least {MIN_ROWS}; {remedy}"
            )
    return groups


def named_groups(groups: Mapping[str, Any], count: int) -> dict[str, Rows]:
    """Groups that a caller names, each row of a group once and in ascending order.

    Args:
        groups: row numbers within the sample, by name.
        count: N.

    Raises:
        DataError: what is no row number of the sample, or too few of them.
    """
    found: dict[str, Rows] = {}
    for name, rows in groups.items():
        numbers = np.unique(np.asarray(rows)) if len(rows) else np.empty(0, dtype=np.int64)
        if numbers.dtype.kind not in "iu" or (numbers < 0).any() or (numbers >= count).any():
            raise DataError(
                f"spectrum: group {name!r}: found {numbers.dtype} values from {numbers[0]} to {numbers[-1]}, "
                f"expected row numbers of the sample, 0 to {count - 1}"
            )
        found[name] = numbers.astype(np.int64)
    return _large_enough(found, count, "name more rows")


def suspected_groups(outputs: NDArray[np.float64], labels: NDArray[np.int64]) -> dict[str, Rows]:
    """Groups for data without flags: `suspected`, the tenth of the rows whose loss fell first, and `others`.

    The rule: a row's early loss is its mean cross-entropy over the early records, which are those after the
    first up to the one at which the sample's mean loss has come at least half of the way from its first to
    its lowest value. The tenth of the rows with the lowest early loss is suspected; of equals, the first.

    Args:
        outputs: H of every record, shape (R, N, C).
        labels: shape (N,).

    Raises:
        DataError: fewer than two records, or too few rows.
    """
    if len(outputs) < 2:
        raise DataError(
            f"spectrum: found {len(outputs)} records, expected at least 2 to tell whose loss fell first; "
            "train longer, or record more often with --spectrum-every"
        )
    chosen = np.take_along_axis(outputs, labels[None, :, None], axis=2)[..., 0]
    losses = -np.log(np.maximum(chosen, 1e-6))
    mean = losses.mean(axis=1)
    halfway = (mean[0] + mean.min()) / 2
    last = max(int(np.argmax(mean <= halfway)), 1)
    early = losses[1 : last + 1].mean(axis=0)
    count = max(round(SUSPECTED_SHARE * len(labels)), MIN_ROWS)
    suspected = np.sort(np.argsort(early, kind="stable")[:count])
    groups = {"others": np.setdiff1d(np.arange(len(labels)), suspected), "suspected": suspected}
    return _large_enough(groups, len(labels), "sample more rows with --spectrum-rows")
