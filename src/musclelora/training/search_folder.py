"""The folder of a search.

=================  ========================================================================
``tune.json``      everything that decides the result; a search goes on with the same only
``judgement.json`` what the trusted rows say of the training rows, found once
``trials.journal`` Optuna's journal: every trial as it goes
``best.json``      the best settings so far, as options of ``musclelora train`` too
=================  ========================================================================
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from musclelora import __version__
from musclelora.errors import OutputError, UsageError
from musclelora.files import held, output_errors, write_json
from musclelora.state import check_state, read_values
from musclelora.training.run_schema import TuneState

FORMAT: Final = 4
SETTINGS: Final = "tune.json"
JUDGEMENT: Final = "judgement.json"
JOURNAL: Final = "trials.journal"
BEST: Final = "best.json"
LOCK: Final = ".lock"
KEPT: Final = (JOURNAL, "shortcuts.json", JUDGEMENT, BEST, SETTINGS)
"""What is in it; ``tune.json``, by which it is known as such, is the last to be removed.

Of an earlier format: ``shortcuts.json``."""


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
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder}: found a file, expected a folder or nothing; name another output")
        begun = (folder / SETTINGS).is_file()
        if folder.is_dir() and not begun and any(not _passing(path) for path in folder.iterdir()):
            raise OutputError(f"{folder}: it holds files that no search wrote; name another output")
        if begun and resume:
            _check_same(folder, settings)
        elif begun and not overwrite:
            raise OutputError(
                f"{folder}: it already holds a search; pass --resume to go on, --overwrite to replace it, "
                "or name another output"
            )
        folder.mkdir(parents=True, exist_ok=True)
    with held(folder / LOCK, "process searches in"):
        with output_errors(folder):
            leftovers = [path for path in folder.iterdir() if path.name != LOCK and _passing(path)]
            for path in [*leftovers, *(folder / name for name in KEPT if overwrite)]:
                path.unlink(missing_ok=True)
            if not (folder / SETTINGS).is_file():
                write_json(folder / SETTINGS, {"format": FORMAT, "musclelora": __version__, **settings})
        yield


def _passing(path: Path) -> bool:
    """Whether it is the lock, or what a kill left of a file that was being written."""
    return path.name == LOCK or path.name.startswith(tuple(f".{name}." for name in KEPT))


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
