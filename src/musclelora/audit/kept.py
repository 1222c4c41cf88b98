"""Arrays that an audit has computed: kept so that a killed one goes on, some of them for other audits too."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from musclelora.data.assembled import cache_folder
from musclelora.errors import OutputError
from musclelora.files import atomic_file, read_json, special, write_json
from musclelora.hashes import digest_of_values, sha256_of_files

MOST_SHARED: Final = 2**31
"""Bytes of arrays that are kept for other audits; those that were not used for longest are deleted."""
EVIDENCE: Final = "evidence"
"""The folder of an audit's arrays, in its own."""
FACTS: Final = "facts.json"
_ROOT: Final = Path(__file__).parents[1]
CODE: Final = sha256_of_files(
    sorted(file for room in ("adapter", "audit", "training") for file in _ROOT.glob(f"{room}/*.py"))
)
"""The hash of what computes shared arrays, as it was imported: those of another state of it are not taken."""


class Kept:
    """Arrays in a folder, or nowhere.

    An array is found again by its name and a hash of what decides it, so that one that was made of other
    findings is never taken for it.

    Args:
        folder: where they are kept; None: nowhere.
        facts: what decides them all.

    Raises:
        OutputError: the folder has arrays that other facts decided.
    """

    def __init__(self, folder: Path | None = None, facts: Mapping[str, Any] | None = None) -> None:
        self._folder, self._facts = folder, dict(facts or {})
        if folder is None:
            return
        before = read_facts(folder)
        differs = [
            name for name, value in self._facts.items() if before is not None and before.get(name) != value
        ]
        if differs:
            raise OutputError(
                f"{folder.parent}: it holds an audit with another {differs[0]}; name another output"
            )

    def get(
        self,
        name: str,
        shape: tuple[int | None, ...],
        inputs: object,
        make: Callable[[], NDArray[Any]],
        *,
        shared: Mapping[str, Any] | None = None,
    ) -> NDArray[Any]:
        """The array of that name, made where there is none.

        Args:
            name: of the array.
            shape: which it must have; None stands for any size.
            inputs: what decides it besides the facts, as JSON values.
            make: computes it.
            shared: all that decides it, where other audits may need it (:func:`shared_array`).

        Raises:
            OutputError: the file is not such an array.
        """
        if shared is not None:
            compute = make

            def make() -> NDArray[Any]:
                return shared_array(name, shape, shared, compute)

        if self._folder is None:
            return make()
        file = self._folder / f"{name}-{digest_of_values(inputs)[:12]}.npy"
        remedy = "delete it, and it is made again"
        if special(file):
            raise OutputError(f"{file}: found {special(file)}, expected a file; {remedy}")
        try:
            found: Any = np.load(file, mmap_mode="r", allow_pickle=False)
        except FileNotFoundError:
            found = np.asarray(make())
            self._folder.mkdir(parents=True, exist_ok=True)
            if not (self._folder / FACTS).exists():
                write_json(self._folder / FACTS, self._facts)
            with atomic_file(file) as temporary, temporary.open("wb") as stream:
                np.save(stream, found, allow_pickle=False)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise OutputError(f"{file}: cannot be read ({error}); {remedy}") from error
        if not _fits(found, shape):
            raise OutputError(f"{file}: found another array than is needed; {remedy}")
        kept: NDArray[Any] = found
        return kept


def shared_array(
    name: str, shape: tuple[int | None, ...], inputs: Mapping[str, Any], make: Callable[[], NDArray[Any]]
) -> NDArray[Any]:
    """An array in the cache of this machine (:func:`~musclelora.data.assembled.cache_folder`), or made now.

    It is a cache: a file that is damaged is made again, and where none can be written none is. An array of
    more than a quarter of :data:`MOST_SHARED` is not kept.

    Args:
        name: of the array.
        shape: which it must have; None stands for any size.
        inputs: all that decides it, as JSON values.
        make: computes it.
    """
    file = cache_folder() / "judged" / f"{name}-{digest_of_values(inputs)[:32]}.npy"
    with contextlib.suppress(OSError, ValueError, EOFError, zipfile.BadZipFile):
        found: Any = np.load(file, mmap_mode="r", allow_pickle=False)
        if _fits(found, shape):
            with contextlib.suppress(OSError):  # it is another user's, or the disk is read-only
                os.utime(file)
            kept: NDArray[Any] = found
            return kept
    made = np.asarray(make())
    if made.nbytes > MOST_SHARED // 4:  # it would leave no room for others
        return made
    with contextlib.suppress(OSError, OutputError):
        file.parent.mkdir(
            parents=True, exist_ok=True, mode=0o700
        )  # rows can be told from what is kept of them
        file.parent.chmod(0o700)
        with atomic_file(file) as temporary, temporary.open("wb") as stream:
            np.save(stream, made, allow_pickle=False)
        _delete_oldest(file.parent)
    return made


def _delete_oldest(folder: Path) -> None:
    """Delete what was not used for longest, until no more is left than may be."""
    files = sorted(folder.glob("*.npy"), key=lambda file: -file.stat().st_mtime)
    sizes = itertools.accumulate(file.stat().st_size for file in files)
    for file, size in list(zip(files, sizes, strict=True))[1:]:  # the newest stays
        if size > MOST_SHARED:
            file.unlink(missing_ok=True)


def _fits(found: Any, shape: tuple[int | None, ...]) -> bool:
    if not isinstance(found, np.ndarray) or len(found.shape) != len(shape):
        return False
    wanted = all(want in (None, size) for want, size in zip(shape, found.shape, strict=True))
    return wanted and found.dtype.kind in "fiub"


def read_facts(folder: Path) -> dict[str, Any] | None:
    """What decided the arrays in a folder; None where there are none.

    Raises:
        OutputError: it cannot be read.
    """
    try:
        found = read_json(folder / FACTS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise OutputError(f"{folder / FACTS}: cannot be read ({error}); name another output") from error
    return found if isinstance(found, dict) else {}


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as JSON values."""
    found: dict[str, Any] = json.loads(json.dumps(values, default=repr, sort_keys=True))
    return found
