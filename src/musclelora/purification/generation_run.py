"""A finished run of generation, loaded; its folder is as :mod:`musclelora.purification.run` says."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from musclelora.adapter import Adapted, Backbone, load_causal_backbone
from musclelora.adapter.backbone import length_limit
from musclelora.adapter.loading import loading_options
from musclelora.generation.generator import Generator
from musclelora.purification.run import check_sizes, export_run, finished_info, trained_adapter

GENERATE: Final = "generate"
"""The task, as ``run.json`` and the command line name it."""


@dataclass(frozen=True)
class GenerationRun:
    """A finished run, loaded.

    Attributes:
        path: the run folder.
        info: what ``run.json`` holds.
        generator: answers prompts.
        backbone: the backbone, with the adapter in its model.
        adapted: the adapter.
    """

    path: Path
    info: dict[str, Any]
    generator: Generator
    backbone: Backbone
    adapted: Adapted

    def export(self, path: str | os.PathLike[str], *, format: str = "lora", overwrite: bool = False) -> None:  # noqa: A002
        """Write it so that it loads without this package: see :func:`musclelora.adapter.export`."""
        export_run(self.path, self.backbone, self.adapted, path, format=format, overwrite=overwrite)


def load_generation_run(path: str | os.PathLike[str]) -> GenerationRun:
    """Load a finished run of generation.

    Raises:
        ModelError: there is no finished run of that task in the folder, or its backbone cannot be loaded.
    """
    folder = Path(path)
    info = finished_info(folder, GENERATE)
    model = info["model"]
    check_sizes(folder, info)
    backbone = load_causal_backbone(model["name"], revision=model["revision"], **loading_options(model))
    adapted = trained_adapter(folder, info, backbone)
    context = length_limit(backbone.tokenizer, backbone.model.config)
    return GenerationRun(
        folder, info, Generator(adapted.model, backbone.tokenizer, context), backbone, adapted
    )
