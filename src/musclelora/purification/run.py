"""A run folder: what a training run needs to be used, exported or gone on with.

=========================  ==================================================================
``run.json``               settings, label map, data summaries, history and result
``musclelora.safetensors`` what was trained or started random; ``run.json`` names it and has its hash. The
                           backbone is not copied, but its hash is kept
``README.md``              its card; with ``measured.json``, see :mod:`musclelora.purification.run_card`
``checkpoints/``           the Trainer's checkpoints
``judgement.json``         what the trusted rows say of the training rows, until training begins
``.next/``                 a run that will replace this one once it has finished
=========================  ==================================================================
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from musclelora import __version__
from musclelora.adapter import (
    Adapted,
    Backbone,
    MuScleLoraConfig,
    attach,
    export,
    load_backbone,
    load_causal_backbone,
)
from musclelora.adapter.backbone import length_limit
from musclelora.adapter.export import check_export, on_own_weights
from musclelora.adapter.loading import loading_options
from musclelora.adapter.presets import Preset
from musclelora.data.places import exists, missing
from musclelora.data.table import Table
from musclelora.data.weight_files import tensor_shapes
from musclelora.errors import ModelError, UsageError
from musclelora.evaluation import Evaluation, evaluate
from musclelora.files import write_json
from musclelora.generation.generator import Generator
from musclelora.hashes import altered, hashing
from musclelora.launched import process_count
from musclelora.purification.run_schema import RunState
from musclelora.state import RESTORE, check_state, read_values
from musclelora.training.classifier import Classifier

RUN = "run.json"
CHECKPOINTS = "checkpoints"
JUDGEMENT = "judgement.json"
FORMAT = 5
CLASSIFY = "classify"
"""The task of a run that does not name one."""
GENERATE = "generate"
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
class FinishedRun:
    """A finished run, loaded.

    Attributes:
        path: the run folder.
        info: what ``run.json`` holds.
        backbone: the backbone, with the adapter in its model.
        adapted: the adapter.
    """

    path: Path
    info: dict[str, Any]
    backbone: Backbone
    adapted: Adapted

    def export(self, path: str | os.PathLike[str], *, format: str = "lora", overwrite: bool = False) -> None:  # noqa: A002
        """Write what it trained so that it loads without this package: see :func:`musclelora.adapter.export`.

        Raises:
            OutputError: `path` holds something else than an export, or cannot be written.
            UsageError: the run has nothing of that format.
        """
        from musclelora.purification.run_card import card_of

        check_export(path, self.path, self.backbone.path)
        weights = (read_info(self.path) or {}).get("weights") or {}
        export(
            on_own_weights(self.adapted, self.backbone),
            self.backbone.tokenizer,
            path,
            format=format,
            base_model=self.backbone.path,
            overwrite=overwrite,
            made_from={"run": weights.get("sha256"), "backbone": self.backbone.sha256},
            card=card_of(self.path, "lora" if format == "lora" else "merged"),
        )


@dataclass(frozen=True)
class Run(FinishedRun):
    """A finished run of classification: a :class:`FinishedRun` whose `classifier` predicts labels."""

    classifier: Classifier

    def evaluate(self, clean: Table | None = None, **more: Any) -> Evaluation:
        """Measure it: see :func:`musclelora.evaluate`, whose further arguments these are."""
        return evaluate(self.classifier, clean=clean, **more)


@dataclass(frozen=True)
class GenerationRun(FinishedRun):
    """A finished run of generation: a :class:`FinishedRun` whose `generator` answers prompts."""

    generator: Generator


def load_run(path: str | os.PathLike[str]) -> Run:
    """Load a finished run of classification.

    Raises:
        ModelError: there is no finished run of that task in the folder, or its backbone cannot be loaded.
    """

    def load(name: str, info: dict[str, Any], **options: Any) -> Backbone:
        return load_backbone(name, info["label_names"], **options)

    folder, info, backbone, adapted = _loaded(path, CLASSIFY, load)
    names = tuple(info["label_names"])
    classifier = Classifier(adapted.model, backbone.tokenizer, names, info["max_length"])
    return Run(folder, info, backbone, adapted, classifier)


def load_generation_run(path: str | os.PathLike[str]) -> GenerationRun:
    """Load a finished run of generation.

    Raises:
        ModelError: there is no finished run of that task in the folder, or its backbone cannot be loaded.
    """

    def load(name: str, _: dict[str, Any], **options: Any) -> Backbone:
        return load_causal_backbone(name, **options)

    folder, info, backbone, adapted = _loaded(path, GENERATE, load)
    context = length_limit(backbone.tokenizer, backbone.model.config)
    generator = Generator(adapted.model, backbone.tokenizer, context)
    return GenerationRun(folder, info, backbone, adapted, generator)


def load_any_run(path: str | os.PathLike[str]) -> Run | GenerationRun:
    """Load a finished run of either task; errors as for :func:`load_run`."""
    return (load_generation_run if task_of(read_info(Path(path)) or {}) == GENERATE else load_run)(path)


def _loaded(
    path: str | os.PathLike[str], task: str, load: Callable[..., Backbone]
) -> tuple[Path, dict[str, Any], Backbone, Adapted]:
    """What every finished run of that task has; `load` takes a name, the run's info and loading options."""
    folder = Path(path)
    info = finished_info(folder, task)
    model = info["model"]
    check_sizes(folder, info)
    with hashing([folder / info["weights"]["file"]]):  # known by the time that they are loaded
        backbone = load(model["name"], info, revision=model["revision"], **loading_options(model))
    return folder, info, backbone, trained_adapter(folder, info, backbone)


def trained_adapter(folder: Path, info: dict[str, Any], backbone: Backbone) -> Adapted:
    """The backbone with what the finished run in `folder` trained, on the accelerator where there is one.

    Of several processes each leaves it where it is: they share the accelerators with what they trained.

    Raises:
        ModelError: the folder is damaged, or its weights or those of the backbone were altered.
    """
    check_backbone(folder, info, backbone)
    try:
        preset, config = Preset(**info["preset"]), MuScleLoraConfig(**info["adapter"])
        adapted = attach(backbone, config, preset)
    except (TypeError, UsageError) as error:
        raise _damaged(folder / RUN, error) from error
    weights = info["weights"]
    adapted.load(folder / weights["file"], weights["sha256"])
    if torch.accelerator.is_available() and process_count() == 1:
        adapted.model.to(torch.accelerator.current_accelerator())
    return adapted


def check_backbone(folder: Path, info: dict[str, Any], backbone: Backbone) -> None:
    """Check that a backbone is the one that the run in `folder` was trained on.

    Raises:
        ModelError: its weights are others.
    """
    then = info["model"]["sha256"]
    if backbone.sha256 != then:
        raise altered(
            f"{backbone.name}, the backbone of {folder}",
            str(then),
            str(backbone.sha256),
            "restore the model that the run was trained on, or train again",
        )


def check_sizes(folder: Path, info: dict[str, Any]) -> None:
    """Check that a finished run's ranks and labels are no more than what its weights have room for.

    Else an altered ``run.json`` could have layers built that no memory holds.

    Raises:
        ModelError: one is, or the weights cannot be read.
    """
    file = folder / info["weights"]["file"]
    if not file.is_file():
        raise ModelError(f"{file}: no such file, expected the weights of the run; restore it or train again")
    room = max((size for shape in tensor_shapes([file]).values() for size in shape), default=0)
    adapter, names = info["adapter"], info.get("label_names") or ()
    scales = len(adapter["scale_factors"] or ()) * adapter["inner_rank"]
    sizes = {"adapter.inner_rank": scales, "label_names": len(names)}
    if adapter["low_rank"] and adapter["target_modules"] != []:
        sizes["adapter.r"] = adapter["r"]
    for what, size in sizes.items():
        if size > room:
            raise ModelError(
                f"{folder / RUN}: {what}: found a size of {size:,}, expected {room:,} at most, as the "
                f"weights have; {RESTORE}"
            )


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
        info = read_values(file, ModelError)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not isinstance(info, dict) or type(info.get("format")) is not int or info["format"] != FORMAT:
        raise ModelError(
            f"{file}: not a run of a version that musclelora {__version__} reads; upgrade it or train again"
        )
    check_state(info, RunState, file, ModelError)
    return info


def _damaged(file: Path, error: object) -> ModelError:
    return ModelError(f"{file}: cannot be read ({error}); restore it or train again")


def write_info(folder: Path, info: dict[str, Any]) -> None:
    """Write ``run.json``."""
    write_json(folder / RUN, {"format": FORMAT, "musclelora": __version__, **info})


def adapter_settings(config: MuScleLoraConfig) -> dict[str, Any]:
    """The fields of an adapter's configuration that are not PEFT's bookkeeping, as JSON values."""
    values = {name: getattr(config, name) for name in ADAPTER_FIELDS}
    return {name: sorted(value) if isinstance(value, set) else value for name, value in values.items()}


def preset_values(preset: Preset) -> dict[str, Any]:
    """A preset as JSON values."""
    return {**asdict(preset), "scale_factors": list(preset.scale_factors)}
