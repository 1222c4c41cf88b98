"""The folder of a search.

=================  ========================================================================
``tune.json``      everything that decides the result; a search goes on with the same only
``judgement.json`` what the trusted rows say of the training rows, found once
``trials.journal`` Optuna's journal: every trial as it goes
``best.json``      the best settings so far, as options of ``musclelora train`` too
``.next/``         a search that will replace this one once it has ended
=================  ========================================================================
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from musclelora import __version__
from musclelora.errors import OutputError, UsageError
from musclelora.files import LOCK, held, output_errors, write_json
from musclelora.outputs import check_output, entries_of, refuse_begun, refuse_foreign
from musclelora.state import check_state, read_values
from musclelora.tuning.search_schema import TuneState

FORMAT: Final = 7
SETTINGS: Final = "tune.json"
JUDGEMENT: Final = "judgement.json"
JOURNAL: Final = "trials.journal"
BEST: Final = "best.json"
NEXT: Final = ".next"
_DONE: Final = ".done"
KEPT: Final = (JOURNAL, "shortcuts.json", JUDGEMENT, BEST, SETTINGS)
"""What is in it; ``tune.json``, by which it is known as such, is the last to be replaced.

Of an earlier format: ``shortcuts.json``."""
_HALF_WRITTEN: Final = (*(f".{name}." for name in KEPT), f"{JOURNAL}.lock")


@contextlib.contextmanager
def opened(folder: Path, settings: dict[str, Any], *, resume: bool, overwrite: bool) -> Iterator[Path]:
    """Hold the folder of a search with these settings, begun where there is none; yield where to keep it.

    A search that replaces another is kept in :data:`NEXT` below the folder until the block ends.

    Raises:
        OutputError: it holds something else or a search that nobody asked to touch, another process searches
            in it, or it cannot be written.
        UsageError: its search has other settings.
    """
    if resume and overwrite:
        raise UsageError("--resume and --overwrite: found both, expected at most one of them")
    settings = json.loads(json.dumps(settings, default=str))
    with output_errors(folder):
        _check_begun(folder, resume=resume, overwrite=overwrite)
    with held(folder, "musclelora tune"):
        with output_errors(folder):
            work = _work(folder, settings, resume=resume, overwrite=overwrite)
            work.mkdir(exist_ok=True)
            for leftover in work.iterdir():
                if leftover.name.startswith(_HALF_WRITTEN):
                    leftover.unlink()
            if not (work / SETTINGS).is_file():
                write_json(work / SETTINGS, {"format": FORMAT, "musclelora": __version__, **settings})
        yield work
        with output_errors(folder):
            if work != folder:
                work.replace(folder / _DONE)
            _replace(folder)


def _check_begun(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Raise where the folder holds what may not be touched."""
    check_output(folder, folder=True)
    if not any(os.path.lexists(folder / name) for name in (SETTINGS, NEXT, _DONE)):
        foreign = (entry for entry in entries_of(folder) if not _is_leftover(entry))
        refuse_foreign(folder, "search", foreign)
    elif not resume and not overwrite:
        refuse_begun(folder, "search")
    elif overwrite:
        refuse_foreign(folder, "search", (entry for entry in entries_of(folder) if not _is_written(entry)))


def _is_written(path: Path) -> bool:
    """Whether it is something that searches write, by its name."""
    if path.is_dir():
        return path.name in (NEXT, _DONE) and all(_is_written(entry) for entry in path.iterdir())
    return path.name in KEPT or _is_leftover(path)


def _is_leftover(path: Path) -> bool:
    return path.name == LOCK or path.name.startswith(_HALF_WRITTEN)


def _work(folder: Path, settings: dict[str, Any], *, resume: bool, overwrite: bool) -> Path:
    """Where to search; the folder is held."""
    _replace(folder)  # what a kill kept from ending
    begun = os.path.lexists(folder / SETTINGS)
    if resume:
        newer = folder / NEXT
        if (newer / SETTINGS).is_file() and _is_same(newer, settings):
            return newer
        if begun:
            _check_same(folder, settings)
    elif overwrite and begun:
        if (folder / NEXT).is_dir():
            shutil.rmtree(folder / NEXT)
        return folder / NEXT
    return folder


def _replace(folder: Path) -> None:
    """Let a search that has ended take the place of the earlier one; a kill may come at any step."""
    done = folder / _DONE
    if not done.is_dir():
        return
    for name in KEPT:
        if (done / name).is_file():
            (done / name).replace(folder / name)
    shutil.rmtree(done)


def _is_same(folder: Path, settings: dict[str, Any]) -> bool:
    try:
        _check_same(folder, settings)
    except UsageError:
        return False
    return True


def _check_same(folder: Path, settings: dict[str, Any]) -> None:
    file = folder / SETTINGS
    then = read_values(file, OutputError, remedy=_ANEW)
    if not isinstance(then, dict) or then.get("format") != FORMAT:
        raise OutputError(
            f"{folder}: its search is not of a version that musclelora {__version__} goes on with; "
            "upgrade it, or pass --overwrite to start anew"
        )
    check_state(then, TuneState, file, OutputError, remedy=_ANEW)
    for name, value in settings.items():
        if value != then.get(name):
            raise UsageError(
                f"--resume: {name} {_differs(value, then.get(name))} in {folder}; give the same, "
                "or --overwrite to start anew"
            )


def _differs(now: Any, then: Any) -> str:
    if isinstance(now, str) and len(now) == 64:  # a table's fingerprint, which says nothing to a person
        return "rows are others than those"
    shown = [text if len(text) <= 80 else f"{text[:77]}…" for text in (repr(now), repr(then))]
    return f"is {shown[0]} now and was {shown[1]}"


_ANEW = "restore it, or pass --overwrite to start anew"
