"""The folder of a search.

================== =======================================================================
``tune.json``      everything that decides the result; a search goes on with the same only
``judgement.json`` what the trusted rows say of the training rows, found once
``trials.json``    the finished trials
``best.json``      the best settings so far, as options of ``musclelora train`` too
``.earlier/``      a search that this one replaces, until this one has ended
================== =======================================================================
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
from musclelora.state import read_values
from musclelora.tuning.search import ANEW

FORMAT: Final = 8
SETTINGS: Final = "tune.json"
JUDGEMENT: Final = "judgement.json"
TRIALS: Final = "trials.json"
BEST: Final = "best.json"
EARLIER: Final = ".earlier"
_KEPT: Final = (TRIALS, "trials.journal", "shortcuts.json", JUDGEMENT, BEST, SETTINGS)
"""What searches write, some of it in earlier formats; ``tune.json``, which makes it a search, is last."""
_HALF_WRITTEN: Final = tuple(f".{name}." for name in _KEPT)


@contextlib.contextmanager
def opened(folder: Path, settings: dict[str, Any], *, resume: bool, overwrite: bool) -> Iterator[None]:
    """Hold the folder of a search with these settings, begun where there is none.

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
            for leftover in folder.iterdir():
                if leftover.name.startswith(_HALF_WRITTEN):
                    leftover.unlink()
            if overwrite:
                _set_aside(folder)
            if os.path.lexists(folder / SETTINGS):
                _check_same(folder, settings)
            else:
                write_json(folder / SETTINGS, {"format": FORMAT, "musclelora": __version__, **settings})
        yield
        with output_errors(folder):
            shutil.rmtree(folder / EARLIER, ignore_errors=True)


def _check_begun(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Raise where the folder holds what may not be touched."""
    check_output(folder, folder=True)
    entries = [
        path for path in entries_of(folder) if path.name != LOCK and not path.name.startswith(_HALF_WRITTEN)
    ]
    if not any(path.name in (SETTINGS, EARLIER) for path in entries):
        refuse_foreign(folder, "search", entries)
    elif not resume and not overwrite:
        refuse_begun(folder, "search")
    elif overwrite:
        refuse_foreign(folder, "search", (path for path in entries if path.name not in (*_KEPT, EARLIER)))


def _set_aside(folder: Path) -> None:
    """Put the folder's search into :data:`EARLIER`, or remove it where that holds one that it replaces."""
    replaced = (folder / EARLIER).is_dir()
    (folder / EARLIER).mkdir(exist_ok=True)
    for name in _KEPT:
        if os.path.lexists(folder / name):
            (folder / name).unlink() if replaced else (folder / name).rename(folder / EARLIER / name)


def _check_same(folder: Path, settings: dict[str, Any]) -> None:
    then = read_values(folder / SETTINGS, OutputError, remedy=ANEW)
    if not isinstance(then, dict) or then.get("format") != FORMAT:
        raise OutputError(
            f"{folder}: its search is not of a version that musclelora {__version__} goes on with; "
            "upgrade it, or pass --overwrite to start anew"
        )
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
