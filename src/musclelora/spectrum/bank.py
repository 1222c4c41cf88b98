"""The filters of a sample's groups, with what the labels are in each band."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from musclelora.errors import DataError
from musclelora.spectrum.distances import check_differ
from musclelora.spectrum.filters import Bands, GaussianFilter
from musclelora.spectrum.measures import Floats, RowNorms, label_norms, one_hot, ratios, row_norms
from musclelora.spectrum.sample import Sample

_ROOM = 2**24  # numbers of a band that are held at a time, 128 MiB


class GroupFilter:
    """Splits outputs at a group's rows, smoothed over these rows or over the whole sample.

    Args:
        smooth: the filter.
        rows: of the sample, which it smooths over, ascending.
        group: those of them that are the group.
        y: labels of the sample, one-hot, shape (N, C).

    Attributes:
        labels: ‖Y_low‖ and ‖Y_high‖ of the group's n rows, each (S, n).
    """

    def __init__(
        self, smooth: GaussianFilter, rows: NDArray[np.int64], group: NDArray[np.int64], y: torch.Tensor
    ) -> None:
        self._filter, self._rows = smooth, rows
        self._members = torch.from_numpy(np.searchsorted(rows, group))
        self._y = Bands(*(band[:, self._members] for band in smooth.split(y[rows])))
        self.labels = label_norms(self._y)

    def norms(self, outputs: NDArray[np.floating]) -> RowNorms:
        """The row norms at R records at once, in passes over the points that share their kernels.

        Args:
            outputs: H of the sample at each record, shape (R, N, C).
        """
        records, _, classes = outputs.shape
        each = max(_ROOM // (len(self._filter.sigmas) * len(self._rows) * classes), 1)
        found = []
        for start in range(0, records, each):
            h = torch.from_numpy(outputs[start : start + each, self._rows]).double()
            low = self._filter.low(h.transpose(0, 1).flatten(1))[:, self._members]
            low = low.unflatten(-1, (len(h), classes))
            found += [
                row_norms(low[:, :, number], whole[self._members], self._y) for number, whole in enumerate(h)
            ]
        return RowNorms(*map(np.stack, zip(*found, strict=True)))

    def errors(self, outputs: NDArray[np.floating]) -> dict[str, list[float | None]]:
        """The band errors and shares of one record, H of shape (N, C): a number for each σ."""
        norms = self.norms(outputs[None])
        once = np.ones((1, len(self._members)))
        return {name: as_json(found[0, 0]) for name, found in ratios(norms, *self.labels, once).items()}


def group_filters(sample: Sample, groups: dict[str, NDArray[np.int64]]) -> dict[str, GroupFilter]:
    """A filter for each group of a sample's rows, by name.

    Raises:
        DataError: the rows of a group are all the same text.
    """
    y = one_hot(sample.labels, len(sample.label_names))
    if sample.settings.within == "sample":
        everyone = np.arange(len(sample))
        shared = _filter(sample, everyone)
        return {name: GroupFilter(shared, everyone, rows, y) for name, rows in groups.items()}
    for name, rows in groups.items():
        try:
            check_differ(sample.inputs.select(torch.from_numpy(rows)))
        except DataError as error:
            raise DataError(
                f"spectrum: group {name!r}: all {len(rows)} rows are the same text, expected texts that "
                "differ; train with --spectrum-within sample"
            ) from error
    return {name: GroupFilter(_filter(sample, rows), rows, rows, y) for name, rows in groups.items()}


def _filter(sample: Sample, rows: NDArray[np.int64]) -> GaussianFilter:
    settings = sample.settings
    return GaussianFilter(
        sample.inputs.select(torch.from_numpy(rows)),
        sample.sigmas,
        squared=settings.distance == "squared",
        dtype=torch.float64 if settings.double else None,
    )


def as_json(values: Floats) -> list[float | None]:
    """Numbers as JSON has them: NaN is null; seven digits, which is what there is."""
    return [None if np.isnan(value) else float(f"{value:.7g}") for value in values]
