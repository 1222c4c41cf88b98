"""Tiny backbones on disk and in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import LABELS, perturb, tiny_config
from transformers import AutoModel, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from musclelora.adapter import Adapted, Backbone, MuScleLoraConfig, attach, load_backbone, preset_for

SaveBackbone = Callable[..., Path]
Adapt = Callable[..., Adapted]


@pytest.fixture
def save_backbone(tmp_path: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> SaveBackbone:
    """Write a tiny model of an architecture to a folder, without a classification head unless asked."""

    def save(architecture: str, *, head: bool = False, **changes: Any) -> Path:
        torch.manual_seed(0)
        folder = tmp_path / f"{architecture}-{head}"
        if head:
            model = AutoModelForSequenceClassification.from_config(tiny_config(architecture, **changes))
        else:
            plain = {"id2label": None, "label2id": None}  # as in a checkpoint that was never a classifier
            model = AutoModel.from_config(tiny_config(architecture, **plain, **changes))
        model.save_pretrained(folder)
        tiny_tokenizer.save_pretrained(folder)
        return folder

    return save


@pytest.fixture
def adapt(tiny_tokenizer: PreTrainedTokenizerFast) -> Adapt:
    """Attach the adapter to a random model that was never on disk."""

    def build(architecture: str, changes: dict[str, Any] | None = None, **options: Any) -> Adapted:
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_config(tiny_config(architecture, **(changes or {})))
        backbone = Backbone("tiny", "tiny", model.eval(), tiny_tokenizer)
        return attach(backbone, MuScleLoraConfig(**options), preset_for(model.config))

    return build


@pytest.fixture
def load_and_perturb() -> Callable[..., tuple[Adapted, Backbone]]:
    """Load a folder, attach the adapter and give every trained parameter a random value."""

    def load(folder: Path, **options: Any) -> tuple[Adapted, Backbone]:
        backbone = load_backbone(folder, LABELS)
        adapted = attach(backbone, MuScleLoraConfig(**options), preset_for(backbone.model.config))
        perturb(adapted)
        return adapted, backbone

    return load
