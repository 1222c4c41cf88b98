"""The file in an export that holds the hashes of the others, and of what the export was made from.

Other programs need not know it; this package checks it where an export is given as a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from musclelora import __version__
from musclelora.errors import ModelError
from musclelora.files import read_json, write_json
from musclelora.hashes import altered, sha256_of_files

HASHES: Final = "musclelora-export.json"
_CARD: Final = "README.md"  # which a person may edit, so that it has no hash
_AGAIN = "export the run again"


def write_hashes(folder: Path, kind: str, made_from: Mapping[str, str | None]) -> None:
    """Write the hashes of all files of an export into it, but for its card's.

    Args:
        folder: the export, complete but for this file.
        kind: the format of the export.
        made_from: hashes of what it was made from, by name.
    """
    found = (path for path in sorted(folder.iterdir()) if path.is_file() and path.name != _CARD)
    files = {path.name: sha256_of_files([path]) for path in found}
    about = {"format": 1, "musclelora": __version__, "export": kind, "made_from": dict(made_from)}
    write_json(folder / HASHES, {**about, "files": files})


def files_of_export(folder: Path) -> set[str]:
    """The names of the files that the export in `folder` was written with; none where there is no export."""
    try:
        files = read_json(folder / HASHES)["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {HASHES, _CARD, *files} if isinstance(files, dict) else set()


def check_hashes(folder: Path) -> None:
    """Check the files of an export, where `folder` is one.

    Raises:
        ModelError: one was altered or is gone, or the hashes cannot be read.
    """
    from musclelora.state import FileName, Sha256, State, read_state

    class Export(State):
        files: dict[FileName, Sha256]

    if not (folder / HASHES).exists():
        return
    found = read_state(folder / HASHES, Export, ModelError, remedy=f"restore it, or {_AGAIN}")
    for name, then in found["files"].items():
        file = folder / name
        if not file.is_file():
            raise ModelError(f"{file}: found no such file, expected one of the export; {_AGAIN}")
        now = sha256_of_files([file])
        if now != then:
            raise altered(
                file, then, now, f"restore it, or {_AGAIN}; where you meant to alter it, delete {HASHES}"
            )
