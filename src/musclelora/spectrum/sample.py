"""The fixed sample of training rows, kept in the run folder so that an analysis needs no model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedTokenizerBase as Tokenizer

from musclelora.adapter.tokens import tokenize
from musclelora.data.table import Table
from musclelora.errors import DataError, UsageError
from musclelora.files import atomic_file
from musclelora.spectrum.distances import check_differ, sigma_grid, sigma_range
from musclelora.spectrum.groups import flag_groups
from musclelora.spectrum.inputs import Inputs, TokenInputs
from musclelora.spectrum.settings import MIN_ROWS, SpectrumSettings
from musclelora.spectrum.state_schema import AboutSample
from musclelora.state import fault_of

FOLDER = "spectrum"
SAMPLE = "sample.safetensors"
_TENSORS = {  # what is in it: dimensions and type; the flags may be missing
    "rows": (1, torch.int64),
    "labels": (1, torch.int64),
    "lengths": (1, torch.int32),
    "ids": (2, torch.int32),
    "sigmas": (1, torch.float64),
    "table": (2, torch.float32),
    "flags": (1, torch.bool),
}


@dataclass(frozen=True)
class Sample:
    """N training rows, as inputs and labels.

    Attributes:
        rows: their numbers in the training table, shape (N,).
        labels: shape (N,), int64.
        label_names: the C class names.
        flags: the poison flags, shape (N,), or None: they name groups and nothing else.
        inputs: the texts as the padded token embeddings of the model before training.
        sigmas: shape (S,), ascending.
        settings: of the analysis.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    label_names: tuple[str, ...]
    flags: NDArray[np.bool_] | None
    inputs: Inputs
    sigmas: NDArray[np.float64]
    settings: SpectrumSettings

    def __len__(self) -> int:
        return len(self.rows)

    def save(self, folder: Path) -> None:
        """Write it below a run folder, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        values = {
            "rows": self.rows,
            "labels": self.labels,
            "sigmas": self.sigmas,
            "ids": self.inputs.ids,
            "lengths": self.inputs.lengths,
            "table": self.inputs.table,
            "flags": self.flags,
        }
        tensors = {
            name: torch.as_tensor(value).to(_TENSORS[name][1]).contiguous()
            for name, value in values.items()
            if value is not None
        }
        about = {"settings": self.settings.to_dict(), "label_names": list(self.label_names)}
        with atomic_file(folder / FOLDER / SAMPLE) as temporary:
            save_file(tensors, temporary, {"about": json.dumps(about)})

    @classmethod
    def load(cls, folder: Path) -> Sample:
        """Read what :meth:`save` wrote below a run folder.

        Raises:
            DataError: it is not there, or damaged.
        """
        path = folder / FOLDER / SAMPLE
        if not path.is_file():
            raise DataError(
                f"{folder}: no spectrum data in it, expected a run of `musclelora spectrum train`; train one"
            )
        again = "train the run again with --overwrite"
        try:
            with safe_open(path, "pt") as file:
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
                about: dict[str, Any] = json.loads(file.metadata()["about"])
            fault = fault_of(about, AboutSample) or _fault(found, len(about["label_names"]))
            if fault is not None:
                raise DataError(f"{path}: {fault}; {again}")
            return cls(
                found["rows"].numpy(),
                found["labels"].numpy(),
                tuple(about["label_names"]),
                found["flags"].numpy() if "flags" in found else None,
                Inputs(found["ids"].long(), found["lengths"].long(), found["table"]),
                found["sigmas"].numpy(),
                SpectrumSettings.from_dict(about["settings"]),
            )
        except DataError:
            raise
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise DataError(f"{path}: cannot be read ({error}); {again}") from error

    def check_settings(self, settings: SpectrumSettings, folder: Path) -> None:
        """Check that a run that is gone on with, or analysed once more, is asked for what it was made with.

        Raises:
            UsageError: a setting differs.
        """
        now, then = settings.to_dict(), self.settings.to_dict()
        for name, value in now.items():
            if then[name] != value:
                raise UsageError(
                    f"--resume: spectrum {name} is {value!r} now and was {then[name]!r} in {folder}; "
                    "give the same settings, or --overwrite to start anew"
                )


def _fault(found: dict[str, torch.Tensor], classes: int) -> str | None:
    """The first thing in a sample's tensors that does not fit, in words; None where all of it does."""
    for name, (dimensions, dtype) in _TENSORS.items():
        tensor = found.get(name)
        if tensor is None and name != "flags":
            return f"found no {name}, expected them"
        if tensor is not None and (tensor.ndim != dimensions or tensor.dtype != dtype):
            kind = str(tensor.dtype).removeprefix("torch.")
            return f"{name}: found {tensor.ndim} dimensions of type {kind}, expected {dimensions} of others"
    count, sigmas, table = len(found["rows"]), found["sigmas"], found["table"]
    limits = {"labels": classes, "ids": len(table), "lengths": found["ids"].shape[1] + 1}
    for name in ("rows", "labels", "ids", "lengths", "flags"):
        tensor, limit = found.get(name, found["rows"]), limits.get(name, 2**53)
        if len(tensor) != count or not count:
            return f"{name}: found {len(tensor)} rows, expected {count}"
        if tensor.numel() and (int(tensor.min()) < 0 or int(tensor.max()) >= limit):
            return f"{name}: found numbers out of range, expected them from 0 to {limit - 1:,}"
    if not len(sigmas) or not (sigmas > 0).all() or not sigmas.isfinite().all():
        return "sigmas: found numbers that are not above 0, expected finite ones that are"
    if not table.isfinite().all():
        return "table: found numbers that are not finite, expected finite ones"
    return None


def choose_rows(table: Table, settings: SpectrumSettings) -> NDArray[np.int64]:
    """The sample's row numbers, ascending; the same table and settings choose the same.

    Raises:
        DataError: too few rows in the table or in a group.
    """
    if len(table) < 2 * MIN_ROWS:
        raise DataError(
            f"{table.source}: found {len(table)} training rows, expected at least {2 * MIN_ROWS}; "
            "name more data"
        )
    order = np.random.default_rng(settings.seed).permutation(len(table))
    rows = np.sort(order[: settings.rows]).astype(np.int64)
    flag_groups(_flags(table, rows, settings))
    return rows


def make_sample(
    table: Table,
    rows: NDArray[np.int64],
    settings: SpectrumSettings,
    *,
    embedding: nn.Module,
    tokenizer: Tokenizer,
    max_length: int,
) -> Sample:
    """The sample as the model sees it before training.

    Args:
        table: the training rows.
        rows: which of them: see :func:`choose_rows`.
        settings: of the analysis.
        embedding: the model's input embeddings, before training has changed them.
        tokenizer: its tokenizer.
        max_length: tokens beyond which a text is cut.

    Raises:
        DataError: all rows are the same text.
        UsageError: the model's input embeddings are not a table of vectors.
    """
    weight = getattr(embedding, "weight", None)
    if not isinstance(weight, torch.Tensor) or weight.ndim != 2:
        raise UsageError(
            f"spectrum: found input embeddings of type {type(embedding).__name__}, expected a table of "
            "vectors; choose another model"
        )
    ids = tokenize([table.texts[row] for row in rows], tokenizer, max_length)["input_ids"]
    padding = tokenizer.pad_token_id
    inputs = TokenInputs.of(ids, weight, int(padding) if padding is not None else 0)
    if settings.sigmas:
        check_differ(inputs)
        sigmas = np.unique(np.array(settings.sigmas, dtype=np.float64))
    else:
        ends = sigma_range(inputs, squared=settings.distance == "squared", seed=settings.seed)
        sigmas = sigma_grid(*ends, settings.sigma_count)
    return Sample(
        rows, table.labels[rows], table.label_names, _flags(table, rows, settings), inputs, sigmas, settings
    )


def _flags(table: Table, rows: NDArray[np.int64], settings: SpectrumSettings) -> NDArray[np.bool_] | None:
    return table.poisoned[rows] if settings.use_flags and table.poisoned is not None else None
