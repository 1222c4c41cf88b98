"""Names of files, folders and hub entries that may be anything: what is there, and what may be meant."""

from __future__ import annotations

import difflib
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from musclelora.data.messages import bad_data, shown
from musclelora.files import special

_HUB_NAME: Final = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", re.ASCII)
_LONGEST_HUB_NAME: Final = 193
"""An owner's and a repository's name have at most 96 characters each."""
_MOST_FILES: Final = 100_000
_MOST_COMPARED: Final = 10_000


def exists(name: str | os.PathLike[str]) -> bool:
    """Whether there is a file or folder; a name that the system cannot have is of none."""
    return os.path.exists(name)  # noqa: PTH110 - Path.exists raises where a name is too long


def may_be_on_hub(name: str) -> bool:
    """Whether `name`, of which there is no file here, may be one on the Hugging Face hub.

    The hub's names look like ``name`` or ``owner/name``. One whose first part is a folder here, or that has a
    suffix and no owner, is of a file that is missing.
    """
    if len(name) > _LONGEST_HUB_NAME or not _HUB_NAME.fullmatch(name):
        return False
    owner, slash, _ = name.partition("/")
    return not exists(owner) if slash else not Path(name).suffix


def missing(name: str | os.PathLike[str], *others: str) -> str:
    """What to say of a path where nothing is, with the nearest of the names beside it and of `others`."""
    near = nearest(name, *others)
    return "no such file or folder" + (f"; did you mean {near}?" if near else "")


def nearest(name: str | os.PathLike[str], *others: str) -> str | None:
    """The path that is there, or the one of `others`, whose name is nearest to that of `name`."""
    path = Path(name)
    beside: dict[str, str] = {}
    try:
        with os.scandir(path.parent) as entries:
            for entry in itertools.islice(entries, _MOST_COMPARED):
                beside.setdefault(entry.name, os.fspath(path.with_name(entry.name)))
    except (OSError, ValueError):
        pass  # there is no such folder, or it may not be read
    known = {**dict.fromkeys(others, ""), **beside}
    found = difflib.get_close_matches(path.name[:255], [n for n in known if n.isprintable()], n=1)
    return (beside.get(found[0]) or found[0]) if found else None


def files_below(folder: Path) -> Iterator[Path]:
    """Every file of a folder and of the folders in it, behind links too; each folder once.

    Raises:
        ValueError: there are more than 100,000, or one of them is a FIFO, a socket or a device.
    """
    seen: set[tuple[int, int]] = set()
    count = 0
    for place, folders, files in os.walk(folder, followlinks=True):
        at = os.stat(place)  # noqa: PTH116
        if (at.st_dev, at.st_ino) in seen:
            folders.clear()
            continue
        seen.add((at.st_dev, at.st_ino))
        count += len(files) + len(folders)
        if count > _MOST_FILES:
            raise ValueError(f"over {_MOST_FILES:,} files")
        for file in sorted(files):
            path = Path(place, file)
            if found := special(path):
                raise ValueError(f"{found} in it ({path.relative_to(folder).as_posix()})")
            yield path


def refuse_special(path: str | os.PathLike[str]) -> None:
    """Refuse data in what is no regular file, before it is opened: it may never end, or never begin.

    Raises:
        DataError: it is a FIFO, a socket or a device, or links to one.
    """
    if found := special(path):
        raise bad_data(os.fspath(path), found, "a regular file", "write the data to a file and name that")


def refuse_blank(name: str, what: str) -> None:
    """Refuse a name that is empty or blank, which a path would take for the folder that one is in.

    Raises:
        DataError: it is.
    """
    if not name.strip():
        raise bad_data(what, f"the name {shown(name)}", "a path, or a name on the hub", "give one")
