"""A run folder: what a training run needs to be used, exported or gone on with.

=========================  ==================================================================
``run.json``               settings, label map, data summaries, history and result
``musclelora.safetensors`` what was trained or started random; the backbone is not copied
``checkpoints/``           the Trainer's checkpoints
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

from musclelora import __version__
from musclelora.adapter import Adapted, Backbone, MuScleLoraConfig, attach, export, load_backbone
from musclelora.adapter.presets import Preset
from musclelora.data.table import Table
from musclelora.errors import ModelError, OutputError, UsageError
from musclelora.files import output_errors, write_json
from musclelora.training.classifier import Classifier

RUN = "run.json"
WEIGHTS = "musclelora.safetensors"
CHECKPOINTS = "checkpoints"
_ADAPTER_FIELDS = (
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
        """Write it so that it loads without this package: see :func:`musclelora.adapter.export`."""
        export(
            self.adapted,
            self.backbone.tokenizer,
            path,
            format=format,
            base_model=self.backbone.path,
            overwrite=overwrite,
        )


def load_run(path: str | os.PathLike[str]) -> Run:
    """Load a finished run.

    Raises:
        ModelError: there is no finished run in that folder, or its backbone cannot be loaded.
    """
    folder = Path(path)
    info = read_info(folder)
    if info is None:
        raise ModelError(f"{folder}: no {RUN} in it; expected a folder that `musclelora train` wrote")
    if info["status"] != "finished":
        raise ModelError(
            f"{folder}: its run has not finished; go on with it: the same `musclelora train` and --resume"
        )
    model = info["model"]
    backbone = load_backbone(model["name"], info["label_names"], revision=model["revision"])
    preset = Preset(**info["preset"])
    adapted = attach(backbone, MuScleLoraConfig(**info["settings"]["adapter"]), preset)
    adapted.load(folder / WEIGHTS)
    names = tuple(info["label_names"])
    classifier = Classifier(adapted.model, backbone.tokenizer, names, info["max_length"])
    return Run(folder, info, classifier, backbone, adapted)


def read_info(folder: Path) -> dict[str, Any] | None:
    """What ``run.json`` holds, or None where there is none.

    Raises:
        ModelError: it is damaged, or a later version wrote it.
    """
    file = folder / RUN
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: cannot be read ({error}); restore it or train again") from error
    if not isinstance(info, dict) or info.get("format") != 1:
        raise ModelError(
            f"{file}: not a run of a version that musclelora {__version__} reads; upgrade it or train again"
        )
    return info


def claim_folder(folder: Path, settings: dict[str, Any], *, resume: bool, overwrite: bool) -> dict[str, Any] | None:
    """Make `folder` ready for a run; what it holds is kept, gone on with or replaced, as was asked.

    Args:
        folder: the run folder.
        settings: everything that decides the result; a resumed run must have the same.
        resume: go on with the run in it, where there is one.
        overwrite: remove what is in it.

    Returns:
        The ``run.json`` of the run to go on with, or None for a new one.

    Raises:
        OutputError: it holds something and neither was asked, or it cannot be written.
        UsageError: the run in it has other settings.
    """
    if resume and overwrite:
        raise UsageError("--resume and --overwrite: found both, expected at most one of them")
    info = read_info(folder) if resume else None
    if info is not None:
        for name, value in _flat(settings).items():
            before = _flat(info["settings"]).get(name)
            if before != value:
                raise UsageError(
                    f"--resume: {name} is {_short(value)} now and was {_short(before)} in {folder}; "
                    "give the same settings, or --overwrite to start anew"
                )
        return info
    occupied = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if occupied and not overwrite:
        what = "a run" if (folder / RUN).is_file() else "other files"
        raise OutputError(
            f"{folder}: it already holds {what}; pass --resume to go on, --overwrite to replace it, "
            "or name another output"
        )
    with output_errors(folder):
        if occupied and not (folder / RUN).is_file():
            raise OutputError(
                f"{folder}: it holds files that no run wrote; --overwrite replaces runs only, so name another output"
            )
        if occupied:
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
    return None


def write_info(folder: Path, info: dict[str, Any]) -> None:
    """Write ``run.json``."""
    write_json(folder / RUN, {"format": 1, "musclelora": __version__, **info})


def adapter_settings(config: MuScleLoraConfig) -> dict[str, Any]:
    """The fields of an adapter's configuration that are not PEFT's bookkeeping, as JSON values."""
    values = {name: getattr(config, name) for name in _ADAPTER_FIELDS}
    return {name: sorted(value) if isinstance(value, set) else value for name, value in values.items()}


def fingerprint(table: Table | None) -> str | None:
    """SHA-256 of a table's texts and labels."""
    if table is None:
        return None
    digest = hashlib.sha256()
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
