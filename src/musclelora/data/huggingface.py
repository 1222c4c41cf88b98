"""Hugging Face data sets: saved folders, folders of data files, and names on the hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from musclelora.data.messages import bad_data, listed, one_line
from musclelora.data.places import nearest
from musclelora.data.raw import Cells, RawTable

_SAVED = ("dataset_dict.json", "dataset_info.json", "state.json")
_BATCH_ROWS = 1000


def read_folder(folder: Path, split: str | None) -> RawTable:
    """Read a folder written by ``save_to_disk``, or a folder of data files, through `datasets`.

    Args:
        folder: an existing folder.
        split: the split to read; "train" where the folder has splits and none is named.

    Raises:
        DataError: `datasets` cannot read it, or it lacks the split.
    """
    import datasets

    try:
        if any((folder / name).is_file() for name in _SAVED):
            loaded = datasets.load_from_disk(str(folder))
        else:
            loaded = datasets.load_dataset(str(folder))
    except Exception as error:  # `datasets` raises many kinds, also those of its optional readers
        raise bad_data(
            str(folder),
            f"not a data set folder ({one_line(error)})",
            "OpenBackdoor files, a folder of save_to_disk, or CSV, JSONL or Parquet files",
            "give the path of a single file",
        ) from error
    if isinstance(loaded, datasets.DatasetDict):
        split = split or "train"
        if split not in loaded:
            raise bad_data(
                str(folder), f"no split {split!r}", f"one of {listed(loaded)}", "name a split it has"
            )
        loaded = loaded[split]
    elif split is not None:
        raise bad_data(
            str(folder), f"no splits, but split {split!r} was asked for", "no split", "name no split"
        )
    return raw_table(str(folder), loaded)


def read_hub(name: str, split: str | None) -> RawTable:
    """Read split `split` ("train" if None) of the hub data set `name`; no code of the data set is run.

    Raises:
        DataError: there is no such data set or split, or the hub cannot be reached.
    """
    import datasets

    try:
        loaded = datasets.load_dataset(name, split=split or "train")
    except Exception as error:  # network, hub, builder and parser errors have no common base
        near = nearest(name)
        meant = f"no such file or folder; did you mean {near}? It is " if near else ""
        raise bad_data(
            name,
            f"{meant}neither an existing file or folder nor a reachable hub data set ({one_line(error)})",
            "a path, or the name of a data set on the Hugging Face hub",
            "check the spelling and the network",
        ) from error
    return raw_table(name, loaded)


def raw_table(source: str, dataset: Any) -> RawTable:
    """A loaded ``datasets.Dataset`` as a reader hands it over."""

    def rows(columns: Sequence[str]) -> Iterator[tuple[int, Cells]]:
        position = 0
        # A folder may have been saved with a tensor format; plain Python values are wanted.
        plain = dataset.select_columns(list(columns)).with_format(None)
        for batch in plain.iter(batch_size=_BATCH_ROWS):
            for cells in zip(*(batch[column] for column in columns), strict=True):
                position += 1
                yield position, cells

    names = {
        column: tuple(feature.names)
        for column, feature in dataset.features.items()
        if type(feature).__name__ == "ClassLabel" and feature.names
    }
    return RawTable(source, tuple(dataset.column_names), "row", rows, names)
