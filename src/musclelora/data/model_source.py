"""Where a model's files are, and what its loading raises in one line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from musclelora.data.embedded import (
    EMBEDDED_LANGUAGE_MODELS,
    EMBEDDED_MODELS,
    EMBEDDED_NAMES,
    embedded_language_model,
    embedded_model_path,
)
from musclelora.data.export_hashes import check_hashes
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


def model_source(name: str) -> Source:
    """The files of an embedded model or of a folder of the user's, checked; a hub name as it is.

    Raises:
        ModelError: an embedded model is absent or altered, or a folder holds no safetensors weights.
        UsageError: a package that an embedded language model needs is missing.
    """
    if name in EMBEDDED_LANGUAGE_MODELS:
        file = embedded_language_model(name)
        return Source(str(file.parent), file.name)
    if name in EMBEDDED_MODELS:
        return Source(str(embedded_model_path(name)))
    folder = Path(name)
    if not folder.exists():
        return Source(name)
    _check_files(folder)
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


def _check_files(folder: Path) -> None:
    """Check that reading the files of a folder comes to an end.

    Raises:
        ModelError: one does not, such as a FIFO, or has no size that a model's JSON has.
    """
    for file in sorted(folder.iterdir()) if folder.is_dir() else ():
        found = special(file)
        if found is not None:
            raise ModelError(f"{file}: found {found}, expected a file of a model; name another folder")
        if file.suffix == ".json" and file.is_file() and file.stat().st_size > _LARGEST_JSON:
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
    reason = " ".join(str(error).split())
    if "custom code" in reason:
        return f"{name}: it needs code of its own to load, which is never run; choose another model"
    if "safetensors" in reason and not Path(name).exists():
        return (
            f"{name}: it has no safetensors weights, and pickled ones are refused, as unpickling can run "
            "code; choose another model, or where you trust it convert it with save_pretrained()"
        )
    known = ", ".join(EMBEDDED_NAMES)
    if not Path(name).exists() and name not in EMBEDDED_NAMES:
        return (
            f"{name}: not an embedded model ({known}), not a folder, and the hub did not give it; "
            f"check the name and the connection ({reason[:160]})"
        )
    return f"{name}: cannot be loaded as a text classifier: {reason[:300]}"
