"""Rows with a label issue, checked again by a model that was trained without them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from musclelora.adapter import MuScleLoraConfig
from musclelora.adapter.copies import Backbones
from musclelora.adapter.presets import Preset
from musclelora.audit.judgement import Judgement
from musclelora.data.splits import some_rows
from musclelora.data.table import Table
from musclelora.errors import TrainingError
from musclelora.training.hardware import free_memory
from musclelora.training.processes import on_first
from musclelora.training.scratch import scratch_trainer

_SEARCHED = frozenset({"r", "lora_alpha", "scale_factors", "inner_rank", "multiscale_alpha"})
EPOCHS_SHARE: Final = 0.5
"""Of the preset's epochs, how many its model trains for at most; see also ``space_around``."""
ROWS: Final = 2000
"""Rows that its model is trained on at most, so that it costs no more where there are more."""


def recheck_settings(
    preset: Preset, adapter: Mapping[str, Any], arguments: Mapping[str, Any]
) -> tuple[MuScleLoraConfig, dict[str, Any]]:
    """The adapter's configuration and the training arguments of a recheck for ``purify``.

    What ``musclelora tune`` searches is the preset's own whatever is asked for, so that a search judges once,
    and the training that comes of it judges in the same way.

    Args:
        preset: the backbone's own settings.
        adapter: fields of the configuration that were asked for.
        arguments: fields of the training arguments that were asked for.
    """
    asked = {name: value for name, value in adapter.items() if name not in _SEARCHED}
    if adapter.get("scale_factors") == []:
        asked["scale_factors"] = []
    config = MuScleLoraConfig(**preset.adapter_fields() | asked)
    return config, {**arguments, "learning_rate": preset.learning_rate}


def recheck(
    train: Table,
    trusted: Table,
    judgement: Judgement,
    *,
    backbones: Backbones,
    preset: Preset,
    config: MuScleLoraConfig,
    arguments: Mapping[str, Any],
    say: Callable[[str], object] = lambda _: None,
) -> Judgement:
    """Let those rows back that a model trained without them gives their label.

    Rows with a shortcut, and those with a style issue, stay out: it is what they would teach. The model is
    trained on :data:`ROWS` of the others at most, for :data:`EPOCHS_SHARE` of the preset's epochs, or for
    those asked for if they are fewer. If it is right in fewer trusted rows than models of these alone were,
    or if its loss is not finite, it cannot judge, and none comes back.

    Args:
        train: the N rows that were judged.
        trusted: rows that were checked; the model does not see them.
        judgement: what was found of them.
        backbones: of the model.
        preset: the backbone's own settings.
        config: of the adapter.
        arguments: fields of the training arguments, with the learning rate and the seed.
        say: called with lines of text.
    """
    plain = np.flatnonzero(~judgement.expert.log_weights(train.texts).any(axis=1))
    asked = np.setdiff1d(np.intersect1d(judgement.left_out, plain), judgement.style_issues)
    if not len(asked):
        if judgement.left_out:
            say("restored     none of them: each has a shortcut, or is like those that have one")
        return judgement
    kept, offsets = judgement.apply(train)
    drawn = some_rows(kept.labels, ROWS, seed=int(arguments["seed"]))
    kept, offsets = kept.select(drawn), offsets[drawn]
    epochs = min(EPOCHS_SHARE * preset.epochs, float(arguments.get("num_train_epochs") or preset.epochs))
    if arguments.get("max_steps", -1) > 0:
        per_step = int(arguments.get("per_device_train_batch_size") or preset.batch_size)
        per_step *= arguments.get("gradient_accumulation_steps", 1)
        epochs = min(epochs, EPOCHS_SHARE * arguments["max_steps"] * per_step / len(kept))
    with tempfile.TemporaryDirectory() as folder:
        trainer = scratch_trainer(
            kept,
            offsets,
            folder,
            backbones=backbones,
            preset=preset,
            config=config,
            arguments={**arguments, "num_train_epochs": epochs},
            what="rechecking",
        )
        try:
            trainer.train()
        except TrainingError as error:
            say(f"restored     none of them: a model trained on the others cannot judge: {error}")
            return judgement
        said = trainer.classifier.predict([*trusted.texts, *train.select(asked).texts]).labels
        del trainer
        free_memory()
    said = np.asarray(on_first(said.tolist))
    right = float(np.mean(said[: len(trusted)] == trusted.labels))
    judgement = replace(judgement, recheck_accuracy=right)
    if right < judgement.trusted_accuracy:
        say(
            "restored     none of them: trained on the others for a while, the model is right in "
            f"{right:.3f} of the trusted rows, less than models of these alone"
        )
        return judgement
    back = asked[said[len(trusted) :] == train.labels[asked]]
    say(
        f"restored     {len(back):,} of them: trained on the others for a while, the model gives them their "
        f"label, and is right in {right:.3f} of the trusted rows"
    )
    return replace(
        judgement,
        left_out=tuple(int(row) for row in np.setdiff1d(judgement.left_out, back)),
        restored=tuple(int(row) for row in back),
    )
