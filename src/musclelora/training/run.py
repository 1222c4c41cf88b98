"""A run folder: what a training run needs to be used, exported or gone on with.

=========================  ==================================================================
``run.json``               settings, label map, data summaries, history and result
``musclelora.safetensors`` what was trained or started random; the backbone is not copied
``checkpoints/``           the Trainer's checkpoints
``judgement.json``         what the trusted rows say of the training rows, until training begins
=========================  ==================================================================
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from musclelora import __version__
from musclelora.adapter import Adapted, Backbone, MuScleLoraConfig, attach, export, load_backbone
from musclelora.adapter.export import on_own_weights
from musclelora.adapter.loading import loading_options
from musclelora.adapter.presets import Preset
from musclelora.data.places import exists, missing
from musclelora.data.table import Table
from musclelora.errors import ModelError, OutputError, UsageError
from musclelora.files import output_errors, write_json
from musclelora.launched import process_count
from musclelora.training.classifier import Classifier

RUN = "run.json"
WEIGHTS = "musclelora.safetensors"
SUMS = "musclelora.json"
CHECKPOINTS = "checkpoints"
JUDGEMENT = "judgement.json"
FORMAT = 2
CLASSIFY = "classify"
"""The task of a run that does not name one."""
ADAPTER_FIELDS = (
    "r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "scale_factors",
    "inner_rank",
    "multiscale_alpha",
    "multiscale_modules",
    "low_rank",
    "train_output_layer",
)


@dataclass(frozen=True)
class Run:
    """A finished run, loaded.

    Attributes:
        path: the run folder.
        info: what ``run.json`` holds.
        classifier: predicts labels.
        backbone: the backbone, with the adapter in its model.
        adapted: the adapter.
    """

    path: Path
    info: dict[str, Any]
    classifier: Classifier
    backbone: Backbone
    adapted: Adapted

    def export(self, path: str | os.PathLike[str], *, format: str = "lora", overwrite: bool = False) -> None:  # noqa: A002
        """Write it so that it loads without this package: see :func:`export_run`."""
        export_run(self.path, self.backbone, self.adapted, path, format=format, overwrite=overwrite)


def export_run(
    folder: Path,
    backbone: Backbone,
    adapted: Adapted,
    path: str | os.PathLike[str],
    *,
    format: str,  # noqa: A002 - the command line's word
    overwrite: bool,
) -> None:
    """Write what the run in `folder` trained so that it loads without this package.

    See :func:`musclelora.adapter.export`.

    Raises:
        OutputError: `path` holds something else than an export, or cannot be written.
        UsageError: the run has nothing of that format.
    """
    check_export(path, folder, backbone.path)
    export(
        on_own_weights(adapted, backbone),
        backbone.tokenizer,
        path,
        format=format,
        base_model=backbone.path,
        overwrite=overwrite,
    )


def check_export(path: str | os.PathLike[str], *inputs: str | os.PathLike[str]) -> None:
    """Refuse to replace at `path` what is no export, or what the export is made from.

    Raises:
        OutputError: `path` is or holds one of the folders `inputs`, or holds files that no export wrote.
    """
    target = Path(path).resolve()
    for source in inputs:
        folder = Path(source).resolve()
        if folder.is_dir() and (target == folder or target in folder.parents):
            raise OutputError(f"{path}: the export is made from what is in it; name another output")
    with output_errors(path):
        if target.exists() and not target.is_dir():
            raise OutputError(f"{path}: found a file, expected a folder or nothing; name another output")
        if target.is_dir() and any(target.iterdir()):
            marks = ("adapter_config.json", "config.json")
            if not any((target / mark).is_file() for mark in marks):
                raise OutputError(f"{path}: it holds files that no export wrote; name another output")


def load_run(path: str | os.PathLike[str]) -> Run:
    """Load a finished run.

    Raises:
        ModelError: there is no finished run in that folder, or its backbone cannot be loaded.
    """
    folder = Path(path)
    info = finished_info(folder, CLASSIFY)
    model = info["model"]
    backbone = load_backbone(
        model["name"], info["label_names"], revision=model["revision"], **loading_options(model)
    )
    adapted = trained_adapter(folder, info, backbone)
    names = tuple(info["label_names"])
    classifier = Classifier(adapted.model, backbone.tokenizer, names, info["max_length"])
    return Run(folder, info, classifier, backbone, adapted)


def trained_adapter(folder: Path, info: dict[str, Any], backbone: Backbone) -> Adapted:
    """The backbone with what the finished run in `folder` trained, on the accelerator where there is one.

    Of several processes each leaves it where it is: they share the accelerators with what they trained.

    Raises:
        ModelError: the folder is damaged.
    """
    try:
        preset, config = Preset(**info["preset"]), MuScleLoraConfig(**info["adapter"])
    except (TypeError, UsageError) as error:
        raise _damaged(folder / RUN, error) from error
    adapted = attach(backbone, config, preset)
    adapted.load(folder / WEIGHTS)
    if torch.accelerator.is_available() and process_count() == 1:
        adapted.model.to(torch.accelerator.current_accelerator())
    return adapted


def finished_info(folder: Path, task: str) -> dict[str, Any]:
    """What ``run.json`` holds of a finished run of that task.

    Raises:
        ModelError: there is none in that folder.
    """
    info = read_info(folder)
    if info is None:
        found = f"no {RUN} in it" if exists(folder) else missing(folder)
        raise ModelError(f"{folder}: {found}; expected a folder that `musclelora train` wrote")
    if info["status"] != "finished":
        raise ModelError(
            f"{folder}: its run has not finished; go on with it: the same `musclelora train` and --resume"
        )
    if task_of(info) != task:
        raise ModelError(
            f"{folder}: found a run of the task {task_of(info)}, expected one of {task}; name such a run"
        )
    return info


def task_of(info: dict[str, Any]) -> str:
    """The task of a run: ``run.json`` names it, but for classification, which came first."""
    return str(info.get("task", CLASSIFY))


def read_info(folder: Path) -> dict[str, Any] | None:
    """What ``run.json`` holds, or None where there is none.

    Raises:
        ModelError: it is damaged, or a later version wrote it.
    """
    file = folder / RUN
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise _damaged(file, error) from error
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise ModelError(
            f"{file}: not a run of a version that musclelora {__version__} reads; upgrade it or train again"
        )
    kinds = _KINDS | (_OF_CLASSIFIERS if task_of(info) == CLASSIFY else {})
    wrong = [name for name, kind in kinds.items() if not isinstance(_entry(info, name), kind)]
    if wrong:
        raise _damaged(file, f"no {wrong[0]} in it")
    return info


# What the commands read of a run.json.
_KINDS: dict[str, type | tuple[type, ...]] = {
    "status": str,
    "settings.method": str,
    "settings.levers": dict,
    "adapter": dict,
    "adapter.scale_factors": list,
    "model.name": str,
    "preset.name": str,
    "preset.source": str,
    "max_length": int,
    "data": dict,
}
_OF_CLASSIFIERS: dict[str, type | tuple[type, ...]] = {"label_names": list}


def _entry(info: Any, name: str) -> Any:
    for part in name.split("."):
        info = info.get(part) if isinstance(info, dict) else None
    return info


def _damaged(file: Path, error: object) -> ModelError:
    return ModelError(f"{file}: cannot be read ({error}); restore it or train again")


def check_folder(
    folder: Path, settings: dict[str, Any], *, resume: bool, overwrite: bool
) -> dict[str, Any] | None:
    """Whether `folder` may hold a run with these settings; nothing is written.

    Args:
        folder: the run folder.
        settings: everything that decides the result; a resumed run must have the same.
        resume: go on with the run in it, where there is one.
        overwrite: replace the run in it.

    Returns:
        The ``run.json`` of the run to go on with, or None for a new one.

    Raises:
        OutputError: it holds something and neither was asked, or something that no run wrote.
        UsageError: the run in it has other settings.
    """
    if resume and overwrite:
        raise UsageError("--resume and --overwrite: found both, expected at most one of them")
    info = read_info(folder) if resume else None
    if info is not None:
        now, then = _flat(settings), _flat(info["settings"])
        for name in {**now, **then}:
            value, before = now.get(name), then.get(name)
            if before != value:
                raise UsageError(
                    f"--resume: {name} is {_short(value)} now and was {_short(before)} in {folder}; "
                    "give the same settings, or --overwrite to start anew"
                )
        return info
    with output_errors(folder):
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder}: found a file, expected a folder or nothing; name another output")
        others = folder.is_dir() and any(not _leftover(path) for path in folder.iterdir())
    if others and not (folder / RUN).is_file():
        raise OutputError(f"{folder}: it holds files that no run wrote; name another output")
    if others and not overwrite:
        raise OutputError(
            f"{folder}: it already holds a run; pass --resume to go on, --overwrite to replace it, "
            "or name another output"
        )
    return None


def read_judgement(folder: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """What a run with these settings had found of its rows before it was interrupted; None: nothing."""
    found = _judged(folder / JUDGEMENT)
    if found is None or (folder / RUN).exists():
        return None
    if (found["musclelora"], found["settings"]) != (__version__, json.loads(json.dumps(settings))):
        return None
    judgement: dict[str, Any] = found["judgement"]
    return judgement


def write_judgement(folder: Path, settings: dict[str, Any], judgement: dict[str, Any]) -> None:
    """Keep what was found of the rows until training begins; ``run.json`` has it from then on.

    Nothing is written beside a run that is to be replaced.
    """
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / RUN).exists():
            found = {"musclelora": __version__, "settings": settings, "judgement": judgement}
            write_json(folder / JUDGEMENT, found)


def _judged(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    wanted = {"musclelora", "settings", "judgement"}
    return found if isinstance(found, dict) and wanted <= found.keys() else None


def clear_folder(folder: Path) -> None:
    """Make `folder`, empty; see :func:`check_folder`."""
    with output_errors(folder):
        if folder.is_dir():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of a run that was killed while it wrote."""
    for file in [*folder.glob(".*"), *folder.glob(f"{CHECKPOINTS}/checkpoint-*/.*")]:
        if _leftover(file):
            file.unlink(missing_ok=True)


def _leftover(path: Path) -> bool:
    if path.name == CHECKPOINTS and path.is_dir():  # the Trainer makes it before anything is written
        return not any(path.iterdir())
    if path.name == JUDGEMENT:
        return _judged(path) is not None
    return path.name.startswith((f".{RUN}.", f".{WEIGHTS}.", f".{SUMS}.", f".{JUDGEMENT}."))


def write_info(folder: Path, info: dict[str, Any]) -> None:
    """Write ``run.json``."""
    write_json(folder / RUN, {"format": FORMAT, "musclelora": __version__, **info})


def adapter_settings(config: MuScleLoraConfig) -> dict[str, Any]:
    """The fields of an adapter's configuration that are not PEFT's bookkeeping, as JSON values."""
    values = {name: getattr(config, name) for name in ADAPTER_FIELDS}
    return {name: sorted(value) if isinstance(value, set) else value for name, value in values.items()}


def fingerprint(table: Table | None) -> str | None:
    """SHA-256 of a table's texts, labels and label names."""
    if table is None:
        return None
    digest = hashlib.sha256(json.dumps(table.label_names).encode())
    for text, label in table:
        digest.update(json.dumps([text, label]).encode())
    return digest.hexdigest()


def preset_values(preset: Preset) -> dict[str, Any]:
    """A preset as JSON values."""
    return {**asdict(preset), "scale_factors": list(preset.scale_factors)}


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
