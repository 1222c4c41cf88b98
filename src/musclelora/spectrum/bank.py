"""The filters of a sample's groups, with what the labels are in each band."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musclelora.errors import DataError
from musclelora.spectrum.distances import check_differ
from musclelora.spectrum.filters import Bands, GaussianFilter
from musclelora.spectrum.inputs import Inputs
from musclelora.spectrum.measures import Floats, RowNorms, label_norms, one_hot, ratios, row_norms, stack
from musclelora.spectrum.sample import Sample

_ROOM = 2**24  # numbers of a band that are held at a time, 128 MiB


class FilterBank:
    """Splits labels once, and outputs as often as asked, for named groups of a sample's rows.

    Args:
        sample: the sample.
        groups: row numbers within the sample, by name.
        device: where to compute; None: the accelerator where there is one.

    Attributes:
        groups: as given.
        labels: (‖Y_low‖, ‖Y_high‖) of each group's rows, each (S, n).

    Raises:
        DataError: the rows of a group are all the same text.
    """

    def __init__(
        self,
        sample: Sample,
        groups: dict[str, NDArray[np.int64]],
        device: torch.device | str | None = None,
    ) -> None:
        settings = sample.settings
        self.groups = groups
        everyone = np.arange(len(sample))
        own = settings.within == "group"
        # One filter for each group, or a single one over the sample.
        self._rows: dict[str, NDArray[np.int64]] = {
            name: rows if own else everyone for name, rows in groups.items()
        }
        made: dict[bytes, GaussianFilter] = {}
        self._filters: dict[str, GaussianFilter] = {}
        self._y: dict[str, Bands] = {}
        y = one_hot(sample.labels, len(sample.label_names))
        for name, rows in self._rows.items():
            key = rows.tobytes()
            if key not in made:
                inputs = sample.inputs.select(torch.from_numpy(rows))
                if own:
                    _check_group(name, inputs)
                made[key] = GaussianFilter(
                    inputs,
                    sample.sigmas,
                    squared=settings.distance == "squared",
                    dtype=torch.float64 if settings.double else None,
                    device=device,
                )
            self._filters[name] = made[key]
            self._y[name] = self._of_group(name, made[key].split(y[rows]))
        self.labels = {name: label_norms(bands) for name, bands in self._y.items()}

    def errors(self, outputs: NDArray[np.floating]) -> dict[str, dict[str, list[float | None]]]:
        """The band errors and shares of one record, by group and name, a number for each σ; None: undefined.

        Args:
            outputs: H of the sample, shape (N, C).
        """
        found: dict[str, dict[str, list[float | None]]] = {}
        for name in self.groups:
            values = ratios(self.norms(name, outputs[None]), *self.labels[name])
            found[name] = {key: as_json(value[0]) for key, value in values.items()}
        return found

    def norms(self, name: str, outputs: NDArray[np.floating]) -> RowNorms:
        """The row norms of a group at R records at once, in passes over the points that share their kernels.

        Args:
            name: the group.
            outputs: H of the sample at each record, shape (R, N, C).
        """
        records, _, classes = outputs.shape
        rows, y = self._rows[name], self._y[name]
        each = max(_ROOM // (len(self._filters[name].sigmas) * len(rows) * classes), 1)
        found = []
        for start in range(0, records, each):
            h = torch.from_numpy(np.ascontiguousarray(outputs[start : start + each, rows])).double()
            flat = h.permute(1, 0, 2).reshape(len(rows), -1)
            low = self._filters[name].low(flat).unflatten(-1, (len(h), classes))
            for number, whole in enumerate(h):
                part = low[:, :, number]
                bands = self._of_group(name, Bands(part, whole - part))
                found.append(row_norms(bands, y, whole[self._members(name)]))
        return stack(found)

    def _of_group(self, name: str, bands: Bands) -> Bands:
        members = self._members(name)
        return Bands(bands.low[:, members], bands.high[:, members])

    def _members(self, name: str) -> Tensor:
        """The group's rows among those that its filter works on."""
        return torch.from_numpy(np.searchsorted(self._rows[name], self.groups[name]))


def _check_group(name: str, inputs: Inputs) -> None:
    try:
        check_differ(inputs)
    except DataError as error:
        raise DataError(
            f"spectrum: group {name!r}: all {len(inputs)} rows are the same text, expected texts that "
            "differ; train with --spectrum-within sample"
        ) from error


def as_json(values: Floats) -> list[float | None]:
    """Numbers as JSON has them: NaN is null; seven digits, which is what there is."""
    return [None if np.isnan(value) else float(f"{value:.7g}") for value in values]
