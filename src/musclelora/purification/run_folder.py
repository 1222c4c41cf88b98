"""The folder of a run while one process writes it: who may, what is kept, and when a new run takes its place.

A run that replaces another is written in :data:`NEXT` below its folder. When it has finished, its weights go
up under a name of their own, and then ``run.json``, which names them: until that one step the folder is the
earlier run, from then on the new one. What a kill leaves in between is finished by whoever opens it next.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from transformers import TrainerCallback

from musclelora import __version__
from musclelora.cards import CARD, licence_in, model_card
from musclelora.errors import ModelError, UsageError
from musclelora.files import LOCK, held, output_errors, read_json, sha256_of, write_json
from musclelora.outputs import check_output, entries_of, refuse_begun, refuse_foreign
from musclelora.purification.run import CHECKPOINTS, JUDGEMENT, RUN, read_info, write_info
from musclelora.purification.run_card import MEASURED, write_card
from musclelora.purification.run_schema import JudgedState
from musclelora.state import check_state
from musclelora.training.checkpoints import SUMS, WEIGHTS
from musclelora.training.processes import on_first

NEXT: Final = ".next"
"""Where a run is written while the earlier one is kept."""
_DONE: Final = ".done"  # the same folder, once its run has finished
_FOLDERS: Final = (CHECKPOINTS, "spectrum")
_OWN_WEIGHTS: Final = re.compile(r"musclelora(-[0-9a-f]{12})?\.safetensors")
_HALF_WRITTEN: Final = tuple(f".{name}." for name in (RUN, WEIGHTS, SUMS, JUDGEMENT, CARD, MEASURED))

# What runs write, as paths below their folder; a folder itself, and what is in it.
_WRITTEN: Final = re.compile(
    rf"(({re.escape(NEXT)}|{re.escape(_DONE)})(/|$))?"
    r"(run\.json|judgement\.json|README\.md|measured\.json|musclelora(-[0-9a-f]{12})?\.safetensors|\.lock"
    r"|\.(run\.json|judgement\.json|README\.md|measured\.json|musclelora\.(safetensors|json))\.[^/]*"
    r"|checkpoints(/runs(/.*)?)?"
    r"|checkpoints/checkpoint-\d+(/(musclelora\.(safetensors|json)|trusted\.safetensors|(optimizer|scheduler|scaler)\.pt"
    r"|rng_state(_\d+)?\.pth|trainer_state\.json|training_args\.bin|\.[^/]*))?"
    r"|spectrum(/[^/]*\.(jsonl?|safetensors|png|svg|csv)|/\.[^/]*)?"
    r")?"
)


class FolderCallback(TrainerCallback):
    """A callback that writes into the run folder, and is told where that is for now."""

    def enter(self, folder: Path) -> None:
        """Take `folder` for the run folder from now on; called before training begins."""
        raise NotImplementedError


@dataclass(frozen=True)
class RunFolder:
    """A run folder that this process alone writes; made by :func:`open_run_folder`.

    Attributes:
        path: the folder.
        work: where the run is written until it has finished: `path`, or a folder in it while an earlier run
            is kept.
        info: the ``run.json`` of the run that is gone on with; None for a new one.
    """

    path: Path
    work: Path
    info: dict[str, Any] | None

    @property
    def is_finished(self) -> bool:
        """Whether the run that is gone on with has finished."""
        return self.info is not None and self.info["status"] == "finished"

    def judgement(self, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """What a run with these settings had found of its rows before it was interrupted; None: nothing.

        Raises:
            ModelError: it was altered.
        """
        file = self.work / JUDGEMENT
        found = None if self.info is not None else _judged(file)
        if found is None:
            return None
        check_state(found, JudgedState, file, ModelError, remedy="restore it, or delete it to start anew")
        return found["judgement"] if _is_of(found, settings) else None

    def keep_judgement(self, settings: Mapping[str, Any], judgement: Mapping[str, Any]) -> None:
        """Keep what was found of the rows until training begins; ``run.json`` has it from then on."""
        self._check_unchanged()
        found = {"musclelora": __version__, "settings": settings, "judgement": judgement}
        write_json(self.work / JUDGEMENT, found)

    def _check_unchanged(self) -> None:
        """Raise where a new run's folder has come to hold another: judging takes a while."""
        if self.work == self.path:
            _check_begun(self.path, resume=False, overwrite=False)

    def begin(self, info: dict[str, Any]) -> None:
        """Say in ``run.json`` that the run is being trained; of a new one nothing earlier stays."""
        with output_errors(self.work):
            self.work.mkdir(parents=True, exist_ok=True)
            if self.info is None:
                self._check_unchanged()
                _empty(self.work)
            for file in [*self.work.glob(".*"), *self.work.glob(f"{CHECKPOINTS}/checkpoint-*/.*")]:
                if file.name.startswith(_HALF_WRITTEN):
                    file.unlink(missing_ok=True)
        write_info(self.work, info)

    def finish(self, info: dict[str, Any]) -> None:
        """Write the card, and say in ``run.json`` that the run has finished.

        Where it replaces another, from now on it does.

        Args:
            info: all that it is to say; the weights are in `work`.
        """
        write_card(self.work, model_card(info, kind="run", licence=licence_in(self.work)))
        if self.work == self.path:
            write_info(self.path, info)
            return
        with output_errors(self.path):
            taken = (self.path / WEIGHTS).exists()
            name = (
                f"musclelora-{(sha256_of(self.work / WEIGHTS) or '')[:12]}.safetensors" if taken else WEIGHTS
            )
            write_info(self.work, {**info, "weights": {**info.get("weights", {}), "file": name}})
            _replace(self.path)


@contextlib.contextmanager
def open_run_folder(
    folder: Path, settings: dict[str, Any], *, resume: bool, overwrite: bool
) -> Iterator[RunFolder]:
    """Hold `folder` for a run with these settings; of several processes the first one does.

    Nothing is written but the lock.

    Args:
        folder: the run folder.
        settings: everything that decides the result; a resumed run must have the same.
        resume: go on with the run in it, where there is one.
        overwrite: replace the run in it, once the new one has finished.

    Raises:
        OutputError: another process writes in it, it holds something and neither was asked, or it holds
            something that no run wrote.
        UsageError: the run in it has other settings.
    """
    if resume and overwrite:
        raise UsageError("--resume and --overwrite: found both, expected at most one of them")
    with contextlib.ExitStack() as stack:

        def claim() -> tuple[Path, dict[str, Any] | None]:
            check_output(folder, folder=True)
            _check_begun(folder, resume=resume, overwrite=overwrite)
            stack.enter_context(held(folder, "musclelora train"))
            with output_errors(folder):
                return _claim(folder, settings, resume=resume, overwrite=overwrite)

        work, info = on_first(claim)
        yield RunFolder(folder, work, info)


def _check_begun(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Raise where the folder holds what may not be touched."""
    if not any(os.path.lexists(folder / name) for name in (RUN, NEXT, _DONE)):
        refuse_foreign(folder, "run", (entry for entry in entries_of(folder) if not _is_leftover(entry)))
    elif not resume:
        if not overwrite:
            refuse_begun(folder, "run")
        refuse_foreign(folder, "run", (path for path in folder.rglob("*") if not _is_written(path, folder)))


def _is_leftover(path: Path) -> bool:
    """Whether it is what a kill left of a run that had not begun."""
    if path.name == CHECKPOINTS and path.is_dir():  # the Trainer makes it before anything is written
        return not any(path.iterdir())
    if path.name == JUDGEMENT:
        return _judged(path) is not None
    return path.name == LOCK or path.name.startswith(_HALF_WRITTEN)


def _is_written(path: Path, folder: Path) -> bool:
    """Whether it is something that runs write, by its name."""
    return not path.is_symlink() and _WRITTEN.fullmatch(path.relative_to(folder).as_posix()) is not None


def _claim(
    folder: Path, settings: dict[str, Any], *, resume: bool, overwrite: bool
) -> tuple[Path, dict[str, Any] | None]:
    """Where to work, and what is gone on with; the folder is held."""
    _check_begun(folder, resume=resume, overwrite=overwrite)
    if (folder / _DONE).is_dir():
        _replace(folder)
    if resume:
        found = _to_go_on_with(folder, settings)
        if found is not None:
            return found
        return folder, None
    if overwrite and os.path.lexists(folder / RUN):
        if (folder / NEXT).is_dir():
            shutil.rmtree(folder / NEXT)
        return folder / NEXT, None
    return folder, None


def _to_go_on_with(folder: Path, settings: dict[str, Any]) -> tuple[Path, dict[str, Any] | None] | None:
    """The run in the folder to go on with: one that was to replace another, if its settings are these."""
    newer, info = read_info(folder / NEXT), read_info(folder)
    if newer is not None and _difference(newer["settings"], settings) is None:
        if newer["status"] == "finished":  # killed before the last step
            _replace(folder)
            return folder, read_info(folder)
        return folder / NEXT, newer
    judged = _judged(folder / NEXT / JUDGEMENT)
    if newer is None and judged is not None and _is_of(judged, settings):
        return folder / NEXT, None
    if info is None:
        return None
    differs = _difference(info["settings"], settings)
    if differs is None:
        return folder, info
    name, value, before = differs
    raise UsageError(
        f"--resume: {name} is {_short(value)} now and was {_short(before)} in {folder}; "
        "give the same settings, or --overwrite to start anew"
    )


def _replace(folder: Path) -> None:
    """Let the finished run in :data:`NEXT` take the place of the earlier one; a kill may come at any step."""
    new, done = folder / NEXT, folder / _DONE
    if not done.is_dir():
        if (new / WEIGHTS).is_file():
            (new / WEIGHTS).replace(folder / _weights_of(new))
        for name in _FOLDERS:
            (new / name).mkdir(exist_ok=True)
        new.replace(done)
    if (done / RUN).is_file():
        (done / RUN).replace(folder / RUN)  # from here on it is the new run
    if (done / CARD).is_file():
        (done / CARD).replace(folder / CARD)
        (folder / MEASURED).unlink(missing_ok=True)  # of the earlier run
    for name in _FOLDERS:
        if (done / name).is_dir():
            shutil.rmtree(folder / name, ignore_errors=True)
            (done / name).replace(folder / name)
            if not any((folder / name).iterdir()):
                (folder / name).rmdir()
    kept = _weights_of(folder)
    for file in folder.glob("musclelora*.safetensors"):
        if _OWN_WEIGHTS.fullmatch(file.name) and file.name != kept:
            file.unlink()
    shutil.rmtree(done)


def _weights_of(folder: Path) -> str:
    """The file of weights that the ``run.json`` in a folder names."""
    info = read_info(folder) or {}
    return str(info.get("weights", {}).get("file", WEIGHTS))


def _empty(folder: Path) -> None:
    """Remove what is in a folder, but for its lock."""
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()


def _judged(file: Path) -> dict[str, Any] | None:
    try:
        found = read_json(file)
    except (OSError, ValueError):
        return None
    wanted = {"musclelora", "settings", "judgement"}
    return found if isinstance(found, dict) and wanted <= found.keys() else None


def _is_of(judged: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    """Whether a judgement was made by this version, with these settings."""
    return (judged["musclelora"], judged["settings"]) == (__version__, _plain(settings))


def _plain(settings: Mapping[str, Any]) -> Any:
    """Settings as they are once they have been in a file."""
    return json.loads(json.dumps(settings))


def _difference(then: dict[str, Any], now: dict[str, Any]) -> tuple[str, Any, Any] | None:
    """The first setting that differs: its name, its value now, and its value then."""
    new, old = _flat(now), _flat(then)
    return next(((n, new.get(n), old.get(n)) for n in {**new, **old} if new.get(n) != old.get(n)), None)


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
