"""May a command write there? One answer for every output of every command."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from musclelora.data.embedded import EMBEDDED_NAMES
from musclelora.errors import OutputError
from musclelora.files import is_standard_output, is_stream, output_errors, special

_KEPT = {"run.json": "a run", "tune.json": "a search", "grid.json": "a benchmark", "audit.json": "an audit"}
"""The file by which each folder that a command goes on with is known."""

Source = str | os.PathLike[str] | None


def check_output(
    path: str | os.PathLike[str],
    inputs: Iterable[Source] = (),
    *,
    folder: bool = False,
    stream: bool = True,
) -> None:
    """Refuse an output whose writing would destroy what cannot be had back; nothing is touched.

    A device, a FIFO, ``-`` and ``/dev/stdout`` are streams: a file may be written to one, a folder may not.

    Args:
        path: the file or folder to write.
        inputs: what the command reads: files, folders, and names (of the hub, None) that are neither.
        folder: whether `path` is to be a folder.
        stream: whether a file may go to a stream.

    Raises:
        OutputError: `path` is, links to, contains or lies inside an input; it is a file of a run, a search, a
            benchmark or a demo; a file stands where a folder is wanted or the other way round; it is a socket
            or a disk; or what it should lie in is no folder.
    """
    if not os.fspath(path) or "\0" in os.fspath(path):
        raise OutputError(f"output {os.fspath(path)!r}: no path; name an output")
    place = Path(path)
    streamed = is_stream(place)
    if streamed and (folder or not stream):
        found, wanted = special(place) or "a stream", "a folder" if folder else "a file"
        raise OutputError(f"{place}: found {found}, expected {wanted} or nothing; name another output")
    with output_errors(place):
        target = Path(os.path.realpath(place))
        if not streamed:
            _check_kind(place, folder=folder)
        elif is_standard_output(place) or not target.is_file():
            return  # but a descriptor may be of a plain file
        for source in inputs:
            if source is not None and os.path.exists(source):  # noqa: PTH110 - Path has "" exist, and may raise
                _check_apart(place, target, Path(source))
        if not folder:
            _check_not_kept(place, target)


def refuse_foreign(folder: Path, what: str, foreign: Iterable[Path]) -> None:
    """Refuse to write in a folder that holds something else than `what` leaves there.

    Args:
        folder: where to write.
        what: what writes there, such as "run".
        foreign: what is in it and was not written by one; it may raise as reading a folder does.

    Raises:
        OutputError: there is something, or the folder cannot be read.
    """
    with output_errors(folder):
        first = min(foreign, default=None)
    if first is not None:
        raise OutputError(
            f"{folder}: it holds files that no {what} wrote, such as {first.relative_to(folder)}; move that "
            "away, or name another output"
        )


def refuse_begun(folder: Path, what: str) -> None:
    """Refuse to go on with, or to replace, what nobody asked to.

    Raises:
        OutputError: always.
    """
    raise OutputError(
        f"{folder}: it already holds a {what}; pass --resume to go on, --overwrite to replace it, "
        "or name another output"
    )


def entries_of(folder: Path) -> list[Path]:
    """What is in a folder; nothing in one that is not there."""
    with output_errors(folder):
        return list(folder.iterdir()) if folder.is_dir() else []


def read_from(*tables: Any, model: str) -> list[str]:
    """What a training run reads: the sources of its tables (None where there is none) and its model."""
    sources = [table.source for table in tables if table is not None]
    return sources if model in EMBEDDED_NAMES else [*sources, model]


def _check_kind(place: Path, *, folder: bool) -> None:
    wanted = "a folder" if folder else "a file"
    found = special(place)
    if found is None:
        try:
            is_folder = stat.S_ISDIR(place.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            is_folder = folder
        except OSError as error:
            raise OutputError(f"{place}: {error.strerror}; name another output") from error
        if is_folder is not folder:
            found = "a file" if folder else "a folder"
    if found is not None:
        raise OutputError(f"{place}: found {found}, expected {wanted} or nothing; name another output")
    around = next((parent for parent in place.absolute().parents if os.path.lexists(parent)), None)
    if around is not None and not around.is_dir():
        raise OutputError(f"{place}: {around} is no folder; name another output")


def _check_apart(place: Path, target: Path, source: Path) -> None:
    """Raise where one of the two is the other, or in it."""
    read = Path(os.path.realpath(source))
    if target == read or (target.exists() and target.samefile(read)):
        how = "it is"
    elif read in target.parents:
        how = "it lies in"
    elif target in read.parents:
        how = "it holds"
    else:
        return
    raise OutputError(f"{place}: {how} {source}, which this command reads; name another output")


def _check_not_kept(place: Path, target: Path) -> None:
    for parent in target.parents:
        for mark, what in _KEPT.items():
            if (parent / mark).is_file():
                raise OutputError(
                    f"{place}: it lies in {parent}, the folder of {what}; name an output beside it"
                )
