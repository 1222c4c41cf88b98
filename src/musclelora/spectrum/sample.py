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
from musclelora.spectrum.inputs import TokenInputs
from musclelora.spectrum.settings import MIN_ROWS, SpectrumSettings

FOLDER = "spectrum"
SAMPLE = "sample.safetensors"


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
    inputs: TokenInputs
    sigmas: NDArray[np.float64]
    settings: SpectrumSettings

    def __len__(self) -> int:
        return len(self.rows)

    def save(self, folder: Path) -> None:
        """Write it below a run folder, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        tensors = {
            "rows": torch.from_numpy(self.rows),
            "labels": torch.from_numpy(self.labels),
            "sigmas": torch.from_numpy(self.sigmas),
            "ids": self.inputs.ids.to(torch.int32),
            "lengths": self.inputs.lengths.to(torch.int32),
            "table": self.inputs.table,
        }
        if self.flags is not None:
            tensors["flags"] = torch.from_numpy(self.flags)
        about = {"settings": self.settings.to_dict(), "label_names": list(self.label_names)}
        with atomic_file(folder / FOLDER / SAMPLE) as temporary:
            save_file(
                {k: v.contiguous() for k, v in tensors.items()}, temporary, {"about": json.dumps(about)}
            )

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
        try:
            with safe_open(path, "pt") as file:
                found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
                about: dict[str, Any] = json.loads(file.metadata()["about"])
            return cls(
                found["rows"].numpy(),
                found["labels"].numpy(),
                tuple(about["label_names"]),
                found["flags"].numpy() if "flags" in found else None,
                TokenInputs(found["ids"].long(), found["lengths"].long(), found["table"]),
                found["sigmas"].numpy(),
                SpectrumSettings.from_dict(about["settings"]),
            )
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: cannot be read ({error}); train the run again with --overwrite"
            ) from error

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
