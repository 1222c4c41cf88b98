"""Ordinary training of a classifier that another library, or another layer, made parameter-efficient."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

from transformers import DataCollatorWithPadding, Trainer, set_seed

from musclelora.adapter import Backbone, load_backbone
from musclelora.adapter.presets import preset_for
from musclelora.defenses.setting import Setting
from musclelora.training import Classifier, MuScleTrainingArguments
from musclelora.training.batches import TokenizedTable, length_limit


def train_efficiently(setting: Setting, wrap: Callable[[Backbone], Any], **arguments: Any) -> Classifier:
    """Train what `wrap` leaves trainable of the setting's backbone on all of its rows.

    Args:
        setting: the rows, the backbone and the seed.
        wrap: adapts the backbone's classifier and gives the module to train.
        **arguments: fields of :class:`~musclelora.training.MuScleTrainingArguments`; the setting's own go
            before them, and what neither has is the backbone's preset.
    """
    set_seed(setting.seed)
    backbone = load_backbone(setting.model, setting.train.label_names)
    model = wrap(backbone)
    with tempfile.TemporaryDirectory(prefix="musclelora-") as folder:
        args = MuScleTrainingArguments(
            output_dir=folder,
            alignment=False,
            **{
                "save_strategy": "no",
                "dataloader_pin_memory": False,
                "logging_strategy": "no",
                **arguments,
                **setting.arguments,
                "seed": setting.seed,
            },
        ).filled_in(preset_for(backbone.model.config))
        longest = length_limit(backbone.tokenizer, backbone.model.config, args.max_length)
        rows = TokenizedTable(setting.train, backbone.tokenizer, longest)
        Trainer(
            model=model,
            args=args,
            data_collator=DataCollatorWithPadding(backbone.tokenizer),
            train_dataset=rows,
            processing_class=backbone.tokenizer,
        ).train()
    return Classifier(model, backbone.tokenizer, setting.train.label_names, longest)
