"""The files of a model's weights: which they are, and what they say that they hold."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from musclelora.data.model_source import Source
from musclelora.errors import ModelError
from musclelora.files import read_json, special

WEIGHTS: Final = "model.safetensors"
INDEX: Final = "model.safetensors.index.json"
_LARGEST_HEADER = 100 * 2**20  # as in the format's own library


def find_file(source: Source, file: str, revision: str | None = None) -> Path | None:
    """A file of a model, which the hub is asked for where it is no folder; None where there is none."""
    if os.path.isdir(source.path):  # noqa: PTH112 - a hub name is no path
        found = Path(source.path) / file
        return found if found.exists() else None
    from transformers.utils import cached_file

    quiet = ("gated_repo", "missing_entries", "connection_errors")
    there = cached_file(
        source.path, file, revision=revision, **{f"_raise_exceptions_for_{what}": False for what in quiet}
    )
    return None if there is None else Path(there)


def weight_files(name: str, source: Source, revision: str | None = None) -> tuple[Path, ...]:
    """The files of its weights that ``from_pretrained`` reads, in the order of their names; maybe none.

    Raises:
        ModelError: its index names something else than safetensors files beside it.
    """
    if source.gguf is not None:
        return (Path(source.path) / source.gguf,)
    whole = find_file(source, WEIGHTS, revision)
    if whole is not None:
        return (_regular(whole),)
    index = find_file(source, INDEX, revision)
    if index is None:
        return ()
    try:
        shards = sorted(set(read_json(index)["weight_map"].values()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{name}: {INDEX}: found no map of tensors to files, expected one; restore the file"
        ) from error
    files = []
    for shard in shards:
        plain = isinstance(shard, str) and Path(shard).name == shard and shard.endswith(".safetensors")
        found = find_file(source, shard, revision) if plain else None
        if found is None:
            raise ModelError(
                f"{name}: {INDEX}: found {str(shard)[:60]!r} named as a file of weights, expected "
                "*.safetensors beside it; restore the model's files"
            )
        files.append(_regular(found))
    return tuple(files)


def tensor_shapes(files: Sequence[Path]) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors in safetensors files by name, of which nothing but the headers is read.

    Raises:
        ModelError: a header cannot be read.
    """
    return {name: tuple(entry["shape"]) for file in files for name, entry in _header(file).items()}


def integer_tensors(files: Sequence[Path]) -> set[str]:
    """The names of the tensors in safetensors files whose values are no floating-point numbers.

    Raises:
        ModelError: a header cannot be read.
    """
    entries = {name: entry for file in files for name, entry in _header(file).items()}
    return {name for name, entry in entries.items() if "F" not in str(entry.get("dtype"))}


def _regular(file: Path) -> Path:
    found = special(file)
    if found is not None:
        raise ModelError(f"{file}: found {found}, expected a file of weights; restore the file")
    return file


def _header(file: Path) -> Mapping[str, Any]:
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if length > min(_LARGEST_HEADER, file.stat().st_size):
                raise ValueError("no header")
            entries = json.loads(opened.read(length))
        entries.pop("__metadata__", None)
        for entry in entries.values():
            if not all(type(size) is int and size >= 0 for size in entry["shape"]):
                raise ValueError("a shape of something else than whole numbers")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(
            f"{file}: cannot be read as safetensors (its header is damaged); restore the file"
        ) from error
    found: Mapping[str, Any] = entries
    return found
