"""Where a model's files are, and what its loading raises in one line."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from musclelora.data.embedded import (
    EMBEDDED_ENCODERS,
    EMBEDDED_LANGUAGE_MODELS,
    EMBEDDED_NAMES,
    embedded_language_model,
    embedded_model_path,
)
from musclelora.data.export_hashes import check_hashes
from musclelora.data.messages import cut
from musclelora.data.places import exists, files_below, may_be_on_hub, missing, nearest
from musclelora.errors import ModelError, UsageError
from musclelora.files import special

_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


class Source(NamedTuple):
    """What ``from_pretrained`` reads.

    Attributes:
        path: a folder, or a hub name.
        gguf: the one file of it that holds configuration, tokenizer and weights; None: they are files of
            their own, the weights safetensors.
    """

    path: str
    gguf: str | None = None

    @property
    def files(self) -> dict[str, Any]:
        """Options that say which file holds the configuration and the tokenizer."""
        return {} if self.gguf is None else {"gguf_file": self.gguf}

    @property
    def weights(self) -> dict[str, Any]:
        """Options that say which file holds the weights, and that they are to be dense tensors."""
        if self.gguf is None:
            return {"use_safetensors": True}
        from transformers import GgufConfig

        # Where the package `kernels` is installed they would stay packed, which cannot be trained or merged.
        return {**self.files, "quantization_config": GgufConfig(dequantize=True)}


def model_source(name: str | os.PathLike[str]) -> Source:
    """The files of an embedded model or of a folder of the user's, checked; a hub name as it is.

    Raises:
        ModelError: an embedded model is absent or altered, or a folder holds no safetensors weights.
        UsageError: a package that an embedded language model needs is missing.
    """
    name = os.fspath(name)
    if name in EMBEDDED_LANGUAGE_MODELS:
        file = embedded_language_model(name)
        return Source(str(file.parent), file.name)
    if name in EMBEDDED_ENCODERS:
        return Source(str(embedded_model_path(name)))
    if not name.strip():
        raise ModelError(
            f"model: found the name {name!r}, expected an embedded model, a hub name or a folder"
        )
    folder = Path(name)
    if not exists(folder):
        if not may_be_on_hub(name):
            raise ModelError(
                f"{name}: {missing(name, *EMBEDDED_NAMES)}; expected a model's folder, a hub name, or one of "
                f"{', '.join(EMBEDDED_NAMES)}; check the spelling"
            )
        return Source(name)
    _refuse_special(folder)
    _refuse_large(folder)
    if not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder}: no config.json in it; expected a Hugging Face model folder; "
            "save one with save_pretrained() or name a hub model"
        )
    if not any(folder.glob("*.safetensors")):
        pickled = sorted(file.name for pattern in _PICKLED for file in folder.glob(pattern))
        found = f"only pickled weights ({', '.join(pickled)})" if pickled else "no weights"
        raise ModelError(
            f"{folder}: {found}; expected *.safetensors, as unpickling can run code; where you trust the "
            "file, convert it: load it with transformers' from_pretrained() and save_pretrained() it again"
        )
    check_hashes(folder)
    return Source(name)


def from_anywhere(name: str) -> str:
    """A model's name as it is found from any folder: the full path of a folder, others as they are."""
    if name in EMBEDDED_NAMES or not exists(name):
        return name
    return os.path.realpath(name)


def _refuse_special(folder: Path) -> None:
    """Refuse a folder that has a file which may never end, or never begin: some library would open it."""
    found = special(folder)
    try:
        if found is None and folder.is_dir():
            for _ in files_below(folder):
                pass
    except (ValueError, OSError) as error:
        found = str(error)
    if found is not None:
        raise ModelError(
            f"{folder}: {found}; expected a Hugging Face model folder of regular files; copy the files that "
            "the model needs into a folder of their own"
        )


def _refuse_large(folder: Path) -> None:
    """Refuse a folder with a JSON file of a size that no model's settings have."""
    for file in sorted(folder.glob("*.json")):
        if file.is_file() and file.stat().st_size > _LARGEST_JSON:
            raise ModelError(
                f"{file}: found over {_LARGEST_JSON // 2**20} MiB, expected a file of a model's settings; "
                "restore it"
            )


_LARGEST_JSON = 256 * 2**20


@contextlib.contextmanager
def model_errors(name: str) -> Iterator[None]:
    """Turn what ``from_pretrained`` raises into one-line :class:`ModelError` messages."""
    try:
        yield
    except (ModelError, UsageError):
        raise
    except Exception as error:  # a malformed folder makes it raise nearly anything
        raise ModelError(_cannot_load(name, error)) from error


def _cannot_load(name: str, error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    if "custom code" in reason:
        return f"{name}: it needs code of its own to load, which is never run; choose another model"
    if "safetensors" in reason and not exists(name):
        return (
            f"{name}: it has no safetensors weights, and pickled ones are refused, as unpickling can run "
            "code; choose another model, or where you trust it convert it with save_pretrained()"
        )
    known = ", ".join(EMBEDDED_NAMES)
    if not exists(name) and name not in EMBEDDED_NAMES:
        near = nearest(name, *EMBEDDED_NAMES)
        return (
            f"{name}: not an embedded model ({known}), not a folder, and the hub did not give it; "
            f"{f'did you mean {near}? ' if near else ''}"
            f"check the name and the connection ({cut(reason)})"
        )
    return f"{name}: cannot be loaded as a text classifier: {cut(reason)}"
